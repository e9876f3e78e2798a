use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use super::error::Error;

/// Puts `program` in the place of this process, with its environment, streams and working directory. The standard
/// library gives it the default answer to SIGPIPE, which [`start`](super::start) has changed. Returns only where the
/// kernel refuses.
pub fn become_program(program: &Path, arguments: &[&str]) -> Error {
    Error::refused(format!("run {}", program.display()), Command::new(program).args(arguments).exec())
}

/// The same, and what the program reads is `text`: the last argument is the path of a file in memory, which is gone with
/// the program.
pub fn become_reader(program: &Path, arguments: &[&str], text: &str) -> Error {
    let keep = || -> io::Result<File> {
        let mut file = File::from(memfd_create(c"ocinet", MemfdFlags::empty())?);
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    match keep() {
        Ok(file) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            become_program(program, &[arguments, &[&path]].concat())
        }
        Err(error) => Error::refused("keep a text in memory", error),
    }
}
