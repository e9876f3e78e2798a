use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, MemfdFlags, fadvise, memfd_create};

use super::folios::folios_of;
use super::mapping::Mapping;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::own_program;

/// How long a hook that runs from the file may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a file is read anew, since a hook may begin while it is.
const ATTEMPTS: usize = 3;

/// The program that lies beside ours where both are installed.
const SHIM: &str = "containerd-shim-ocinet-v2";

/// How a file lies in the page cache after [`warm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmed {
    /// In large pages, as before.
    Already,
    /// In large pages now.
    Now,
    /// It was read anew, but how it lies cannot be seen: see [`folios_of`].
    Unseen,
    /// In small pages: it was read anew, and the kernel or its file system has no large pages for it.
    Refused,
}

/// Brings a file into large pages of the page cache.
///
/// # Errors
/// [`Error::Busy`] where a process runs from it, [`Error::NotRegular`], or when it cannot be read.
pub fn warm(path: &Path) -> Result<Warmed> {
    let (file, meta) = open(path)?;
    if folios_of(&file).is_some_and(|folios| folios.are_huge()) {
        return Ok(Warmed::Already);
    }
    let mut warmed = Warmed::Refused;
    for _ in 0..ATTEMPTS {
        wait_for_runners(path, &meta)?;
        if !read_anew(&file).doing(|| format!("read {}", path.display()))? {
            break;
        }
        let Some(folios) = folios_of(&file) else { return Ok(Warmed::Unseen) };
        warmed = if folios.are_large() { Warmed::Now } else { Warmed::Refused };
        if folios.are_huge() {
            break;
        }
    }
    Ok(warmed)
}

/// Whether this process keeps a file from being warmed: it runs from it, and the file can do with it.
///
/// # Errors
/// As [`warm`].
pub fn hinders(path: &Path) -> Result<bool> {
    let (file, meta) = open(path)?;
    let is_own = fs::metadata("/proc/self/exe").is_ok_and(|own| is_same(&own, &meta));
    Ok(is_own && !folios_of(&file).is_some_and(|folios| folios.are_huge()))
}

/// Runs this program with other arguments in the place of this process, from a copy in memory: the process then has
/// nothing of the program's file mapped.
///
/// # Errors
/// When the host does not allow it. There is no other return.
pub fn go_on_from_memory(arguments: &[OsString]) -> Result<Infallible> {
    let go_on = || -> io::Result<Infallible> {
        let mut program = File::open("/proc/self/exe")?;
        // Linux before 6.3 knows no flag for what it does anyway, memfd_create(2).
        let flags = MemfdFlags::CLOEXEC;
        let copy = memfd_create("ocinet", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("ocinet", flags))?;
        let mut copy = File::from(copy);
        io::copy(&mut program, &mut copy)?;
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        Err(Command::new(path).arg0("ocinet").args(arguments).exec())
    };
    go_on().doing(|| "run a copy of this program in memory".into())
}

/// The file of this program, and the shim for containerd if it lies beside it.
///
/// # Errors
/// When /proc is not mounted.
pub fn installed_programs() -> Result<Vec<PathBuf>> {
    let own = PathBuf::from(own_program()?);
    let shim = own.with_file_name(SHIM);
    let shim = (shim != own && shim.is_file()).then_some(shim);
    Ok([own].into_iter().chain(shim).collect())
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    let what = || format!("read {}", path.display());
    // To open a device may do something.
    if !std::fs::metadata(path).doing(what)?.is_file() {
        return Err(Error::NotRegular { what: what() });
    }
    // It may be another by now: does not wait for the other end of a FIFO.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).doing(what)?;
    let meta = file.metadata().doing(what)?;
    if meta.is_file() { Ok((file, meta)) } else { Err(Error::NotRegular { what: what() }) }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn wait_for_runners(path: &Path, meta: &Metadata) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(pid) = runner(meta) {
        if Instant::now() >= deadline {
            return Err(Error::Busy(format!(
                "{} cannot be read anew while process {pid} runs from it: end that process first",
                path.display()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process that runs from the file. Where /proc cannot be read, none is seen.
fn runner(meta: &Metadata) -> Option<u32> {
    let entries = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(|pid| fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|program| is_same(&program, meta)))
}

/// Drops the file from the page cache, and reads it through a mapping of huge pages. `false` where the kernel has none;
/// then nothing was dropped.
fn read_anew(file: &File) -> io::Result<bool> {
    let Some(mapping) = Mapping::of(file)? else { return Ok(false) };
    match mapping.read_hugely() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
        advised => advised?,
    }
    // What is not written yet is not dropped.
    file.sync_data()?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    mapping.populate_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is promised of the kernel, but what is said agrees with what is seen.
    #[test]
    fn a_file_is_warmed_once_and_keeps_its_content() {
        let path = std::env::temp_dir().join(format!("ocinet-warm-{}", std::process::id()));
        let content: Vec<u8> = (0..3_u32 << 20).map(|number| (number >> 12) as u8).collect();
        fs::write(&path, &content).unwrap();
        let first = warm(&path).unwrap();
        let again = warm(&path).unwrap();
        match first {
            // Memory may be too short for huge pages.
            Warmed::Already | Warmed::Now => assert!(matches!(again, Warmed::Already | Warmed::Now), "{again:?}"),
            Warmed::Unseen | Warmed::Refused => assert_eq!(again, first),
        }
        assert_eq!(fs::read(&path).unwrap(), content);
        fs::remove_file(&path).unwrap();
        assert!(warm(&path).is_err());
        assert!(matches!(warm(&std::env::temp_dir()), Err(Error::NotRegular { .. })));
    }

    #[test]
    fn a_program_that_runs_is_seen() {
        let own = fs::metadata("/proc/self/exe").unwrap();
        assert!(runner(&own).is_some());
        assert_eq!(runner(&fs::metadata("/proc/self/cgroup").unwrap()), None);
    }
}
