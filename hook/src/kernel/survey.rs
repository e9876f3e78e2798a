//! What is on this host for a container to be wired: rights, programs, files. Nothing is changed.

use std::fs;
use std::path::{Path, PathBuf};

use super::{child_process, proc};

/// The rights without which a container cannot be wired, as capabilities(7) counts them.
const CAPABILITIES: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN"), (1, "CAP_DAC_OVERRIDE")];

/// Those rights that this process lacks.
pub fn missing_rights() -> Vec<&'static str> {
    let status = proc::read_text("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES.iter().filter(|(number, _)| effective >> number & 1 == 0).map(|(_, name)| *name).collect()
}

/// Whether this process is root, in whichever user namespace.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether the user namespace is that of the host, in which every id is mapped to itself (user_namespaces(7)).
pub fn has_all_ids() -> bool {
    let map = proc::read_text("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]
}

/// The kernel's release, such as 6.12.1.
pub fn kernel_release() -> String {
    proc::value("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// A program of the host, found where ocinet looks for those that it runs.
pub fn program(name: &str) -> Option<PathBuf> {
    child_process::find(name)
}

/// Whether there is something at `path` that can be executed.
pub fn is_program(path: &Path) -> bool {
    child_process::is_program(path)
}

/// The search path of a process with the name `name`; none where no such process runs, or it cannot be looked at.
pub fn search_path_of(name: &str) -> Option<String> {
    let numbers = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_called =
        |pid: &String| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
    let pid = numbers.filter(|name| name.parse::<u32>().is_ok()).find(is_called)?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let path = environment.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(b"PATH="))?;
    Some(String::from_utf8_lossy(path).into_owned())
}

/// Runs a program of the host and returns what it printed, or what went wrong with it.
pub fn told_by(program: &str, arguments: &[&str]) -> String {
    match child_process::end_of(program, arguments, "") {
        Ok(ended) if ended.code == 0 => ended.stdout,
        Ok(ended) => format!("{}{}(exit status {})\n", ended.stdout, ended.stderr, ended.code),
        Err(error) => format!("{error}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_and_programs_are_found() {
        assert!(program("sh").is_some_and(|path| is_program(&path)) && program("no-such-program").is_none());
        assert!(!is_program(Path::new("/etc/passwd")) && !is_program(Path::new("/nonexistent")));
        assert!(kernel_release().contains('.'));
        assert_eq!(search_path_of("no-such-program"), None);
        assert!(told_by("sh", &["-c", "echo said; exit 3"]).contains("said\n(exit status 3)"));
        assert!(told_by("no-such-program", &[]).contains("not installed"));
    }
}
