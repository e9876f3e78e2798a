//! The machine, in words.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use crate::options::Options;
use crate::subjects;

/// When and on what it was measured, and what.
pub fn described(options: &Options) -> String {
    let processors = available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    let model = model.map(|(_, name)| format!(" ({})", name.trim())).unwrap_or_default();
    let date = first_line(Command::new("date").args(["--utc", "+%F"])).unwrap_or_default();
    let kernel = first_line(Command::new("uname").arg("-r")).unwrap_or_default();
    let versions = subjects::versions(options).join(", ");
    format!("{date}, {processors} processors{model}, Linux {kernel}; {versions}")
}

/// The first line that a program prints.
pub fn first_line(command: &mut Command) -> Option<String> {
    let said = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&said.stdout).lines().next()?.trim().to_owned())
}
