//! Child processes: the few programs of the host that ocinet starts. Each has a deadline, since other processes wait
//! meanwhile for the locks that ocinet holds.
//!
//! A program runs in a process group of its own and inherits the locks that [`super::Lock::inherit`] marks. The whole
//! group must be dead before ocinet continues: a child that the program left running would keep those locks.

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Doing, Error, Result};
use running::{End, Running};

/// The search path for these programs, whatever the caller's environment is.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a program may take. Others wait 20 s for a lock that we hold meanwhile, so this is less.
const DEADLINE: Duration = Duration::from_secs(15);

/// The program ends by itself after so many seconds, where this process was killed and cannot end it.
const ALARM: u32 = 17;

/// The largest allowed output of a program: several times the rules of 20,000 published ports.
const MAX_OUTPUT: usize = 16 << 20;

/// How a program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// The first line of its stderr.
    pub complaint: String,
    /// What it printed on stderr.
    pub stderr: String,
}

/// Runs a program of the host with an empty environment and `input` on its stdin, and returns its stdout.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let ended = end_of(program, arguments, input)?;
    match ended.code {
        0 => Ok(ended.stdout),
        code => Err(Error::Program(format!(
            "{} failed (exit status {code}): {}",
            line(program, arguments),
            ended.complaint
        ))),
    }
}

/// Runs a program of the host as [`run`] does, whatever its exit code.
///
/// # Errors
/// When it is not installed, cannot be started, was killed, exits with 0 before it had read all of its input, prints
/// more than [`MAX_OUTPUT`], or takes longer than 15 seconds: then it is killed with all processes of its group.
pub(super) fn end_of(program: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    end_within(DEADLINE, program, arguments, input)
}

/// Whether a program of that name is installed.
pub(super) fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// Runs the program in the file `path`, which ends once a process that it leaves behind, in a session of its own, is at
/// work.
///
/// # Errors
/// As [`run`], with what it prints on stderr.
pub fn start_resident(path: &Path, arguments: &[&str]) -> Result<()> {
    let program = path.display().to_string();
    let ended = end_of_file(DEADLINE, path, line(&program, arguments), arguments, "")?;
    match ended.code {
        0 => Ok(()),
        _ => Err(Error::Program(format!("{program} failed: {}", ended.complaint))),
    }
}

fn end_within(patience: Duration, program: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    let Some(path) = find(program) else {
        return Err(Error::Program(format!("program {program} is not installed (looked in {PATH}); install it")));
    };
    end_of_file(patience, &path, line(program, arguments), arguments, input)
}

fn end_of_file(patience: Duration, path: &Path, line: String, arguments: &[&str], input: &str) -> Result<Ended> {
    let mut running = Running::start(path, arguments, ALARM).doing(|| format!("run {line}"))?;
    let end = running.serve(input.as_bytes(), patience).doing(|| format!("run {line}"))?;
    match end {
        End::Ended(status) => match status.code() {
            // nft and iptables-restore treat a failed read as the end of their input.
            Some(0) if running.left_input => {
                Err(Error::Program(format!("{line} ended with exit code 0 before it had read its input; try again")))
            }
            Some(code) => Ok(running.told(code)),
            None => {
                let signal = status.signal().unwrap_or_default();
                Err(Error::Program(format!("{line} was killed by signal {signal}; run it by hand to see why")))
            }
        },
        End::TooLate => {
            let seconds = patience.as_secs();
            let left = if running.is_dead()? { "was killed" } else { "cannot be killed" };
            Err(Error::Deadline(format!("{line} did not end within {seconds} s and {left}; run it by hand to see why")))
        }
        End::TooMuch => {
            Err(Error::Program(format!("{line} printed more than {} MiB and was killed", MAX_OUTPUT >> 20)))
        }
    }
}

/// The command line for messages.
fn line(program: &str, arguments: &[&str]) -> String {
    [&[program], arguments].concat().join(" ")
}

/// The file of a program of the host.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| is_program(path))
}

/// Whether the file at `path` can be executed.
pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::process::Pid;

    use super::running::MAX_COMPLAINT;
    use super::*;

    fn sh(script: &str, input: &str) -> Result<Ended> {
        end_within(Duration::from_secs(10), "sh", &["-c", script], input)
    }

    /// Waits until no process of the group that a program's `output` names is left.
    fn assert_group_ends(output: &str) {
        let group = Pid::from_raw(output.trim().parse().unwrap()).unwrap();
        let since = Instant::now();
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(since.elapsed() < Duration::from_secs(10), "group {group:?} is alive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let file = std::env::temp_dir().join(format!("ocinet-hangs-{}", std::process::id()));
        let script = format!("sleep 60 & echo $$ >{}; wait", file.display());
        let since = Instant::now();
        let error = end_within(Duration::from_millis(500), "sh", &["-c", &script], "").unwrap_err();
        assert!(since.elapsed() < Duration::from_secs(10));
        assert!(
            matches!(&error, Error::Deadline(text) if text.starts_with("sh -c sleep") && text.contains("was killed"))
        );
        assert_group_ends(&fs::read_to_string(&file).unwrap());
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_child_that_a_program_leaves_behind_keeps_nobody_waiting() {
        let since = Instant::now();
        let ended = sh("sleep 60 & echo $$", "").unwrap();
        assert!(ended.code == 0 && since.elapsed() < Duration::from_secs(10));
        assert_group_ends(&ended.stdout);
    }

    #[test]
    fn a_program_may_print_before_it_reads() {
        let (input, script) = ("x".repeat(1 << 20), "head -c 10000000 /dev/zero; wc -c >&2");
        let ended = sh(script, &input).unwrap();
        assert_eq!((ended.code, ended.stdout.len(), ended.complaint.as_str()), (0, 10_000_000, "1048576"));
    }

    #[test]
    fn a_program_may_end_before_it_has_read_all() {
        let ended = sh("exec <&-; echo wrong >&2; exit 3", &"x".repeat(1 << 20)).unwrap();
        assert_eq!((ended.code, ended.complaint.as_str()), (3, "wrong"));
    }

    #[test]
    fn exit_code_0_before_the_end_of_the_input_is_no_answer() {
        for (script, input) in
            [("exec true", "x".repeat(1 << 20)), ("head -c 1 >&2; exit 0", "xy".repeat(3000)), ("true", "x".into())]
        {
            let error = sh(script, &input).unwrap_err().to_string();
            assert!(error.contains("exit code 0 before it had read its input"), "{error}");
        }
        assert_eq!(sh("cat", "xy").unwrap().stdout, "xy");
    }

    #[test]
    fn what_is_printed_without_end_is_refused() {
        let error = sh("cat /dev/zero", "").unwrap_err().to_string();
        assert!(error.starts_with("sh -c cat /dev/zero printed more than 16 MiB"), "{error}");
        // A long stderr is truncated and is no error.
        let ended = sh("head -c 1000000 /dev/zero >&2; exit 1", "").unwrap();
        assert_eq!((ended.code, ended.complaint.len()), (1, MAX_COMPLAINT));
    }

    #[test]
    fn an_end_by_a_signal_is_no_answer() {
        let error = sh("kill -KILL $$", "").unwrap_err().to_string();
        assert!(error.contains("was killed by signal 9"), "{error}");
    }

    #[test]
    fn a_program_that_outlives_us_has_an_alarm() {
        let mut running = Running::start(&find("sleep").unwrap(), &["60"], 1).unwrap();
        let end = running.serve(b"", Duration::from_secs(10)).unwrap();
        assert!(matches!(end, End::Ended(status) if status.signal() == Some(libc::SIGALRM)));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = end_of("ocinet-no-such-program", &[], "").unwrap_err().to_string();
        assert!(error.contains("ocinet-no-such-program is not installed"), "{error}");
        assert!(!is_installed("ocinet-no-such-program") && is_installed("sh"));
    }
}
