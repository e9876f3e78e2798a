use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::{Doing, Error, Result};

/// Where the few programs we start are looked for, whatever the caller's environment says.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended.
pub(super) struct Ended {
    /// Its exit code; none where a signal killed it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// The first line of its complaint.
    pub complaint: String,
}

/// Runs a program of the host with an empty environment and `input` on its stdin, and returns its stdout.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let ended = end_of(program, arguments, input)?;
    match ended.code {
        Some(0) => Ok(ended.stdout),
        code => {
            let how = code.map_or("killed by a signal".to_owned(), |code| format!("exit status {code}"));
            let (arguments, complaint) = (arguments.join(" "), ended.complaint);
            Err(Error::Program(format!("{program} {arguments} failed ({how}): {complaint}")))
        }
    }
}

/// Runs a program of the host as [`run`] does, whatever comes of it.
pub(super) fn end_of(program: &str, arguments: &[&str], input: &str) -> Result<Ended> {
    let line = || format!("run {program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Program(format!("program {program} is not installed (looked in {PATH}); install it"))
            }
            _ => Error::refused(line(), error),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that fails early closes its stdin; its exit says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().doing(line)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let complaint = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given").to_owned();
    Ok(Ended { code: output.status.code(), stdout: String::from_utf8_lossy(&output.stdout).into_owned(), complaint })
}

/// Whether a program of that name is installed.
pub(super) fn is_installed(program: &str) -> bool {
    PATH.split(':').any(|folder| Path::new(folder).join(program).exists())
}
