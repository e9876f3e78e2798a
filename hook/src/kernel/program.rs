use std::io::Write;
use std::process::{Command, Stdio};

use super::error::{Doing, Error, Result};

/// Where the few programs we start are looked for, whatever the caller's environment says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program of the host with an empty environment and `input` on its stdin, and returns its stdout.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
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
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(Error::Program(format!("{program} {} failed ({}): {first}", arguments.join(" "), output.status)))
}
