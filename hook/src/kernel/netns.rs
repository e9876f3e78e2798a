use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockType, socket};
use rustix::fs::fstat;

use super::apart::apart;
use super::error::{Doing, Result};
use super::process::{Process, process_start};
use crate::model::{Namespace, Patron, Witness};

/// A network namespace, held by a descriptor.
pub struct Netns(OwnedFd);

impl Netns {
    /// The namespace that `path` is bound to.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(path: &Path) -> Result<Self> {
        // Without blocking: what the path leads to may be a FIFO.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .doing(|| format!("open network namespace {}", path.display()))?;
        Ok(Self(file.into()))
    }

    /// The same namespace, held once more.
    ///
    /// # Errors
    /// When this process has no descriptor left.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self(self.0.try_clone().doing(|| "hold a namespace".into())?))
    }

    /// Runs `work` inside the namespace.
    ///
    /// # Errors
    /// Those of `work`, or that the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        apart(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET).doing(|| "enter the container's network namespace".into())?;
            work()
        })
    }

    /// The namespace's `SO_NETNS_COOKIE`.
    ///
    /// # Errors
    /// On kernels before 5.14.
    pub fn cookie(&self) -> Result<u64> {
        self.within(own_cookie)
    }

    /// The cookie of the namespace this process runs in.
    ///
    /// # Errors
    /// On kernels before 5.14.
    pub fn own_cookie() -> Result<u64> {
        own_cookie()
    }

    /// Makes a namespace and binds it to the file `path`, which holds it until it is unbound. Its cookie comes with it: to ask
    /// for that later takes another thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(path: &Path) -> Result<(Self, u64)> {
        let what = || format!("make network namespace {}", path.display());
        apart(|| {
            unshare(CloneFlags::CLONE_NEWNET).doing(what)?;
            let own = Path::new("/proc/thread-self/ns/net");
            mount(Some(own), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).doing(what)?;
            Ok((Self::at(path)?, own_cookie()?))
        })
    }

    /// Whether the namespace that was recorded lives; `None` where that cannot be seen from here.
    pub fn lives(recorded: &Namespace, here: &super::Origin) -> Option<bool> {
        let is_elsewhere = recorded.seen_from_mnt_ns != here.mnt_ns || recorded.seen_from_pid_ns != here.pid_ns;
        if is_elsewhere || recorded.witness == Witness::Unseen {
            return None;
        }
        Some(Self::find(recorded, here).is_some())
    }

    /// The namespace that was recorded; `None` where it is dead or cannot be seen from here.
    pub fn find(recorded: &Namespace, here: &super::Origin) -> Option<Self> {
        if recorded.seen_from_mnt_ns != here.mnt_ns || recorded.seen_from_pid_ns != here.pid_ns {
            return None;
        }
        let namespace = match &recorded.witness {
            Witness::Unseen => return None,
            Witness::Path(path) => Self::at(path).ok()?,
            Witness::Made { path, patron } => Self::at(path).ok().filter(|made| made.is_wanted(patron.as_ref()))?,
            Witness::Process { pid, started } => {
                Process::open(*pid).ok().filter(|process| process.started == *started)?.net
            }
        };
        namespace.cookie().is_ok_and(|cookie| cookie == recorded.cookie).then_some(namespace)
    }

    /// Whether a namespace that only its path holds is of use to anybody.
    fn is_wanted(&self, patron: Option<&Patron>) -> bool {
        // Asked first: to look for processes takes the longer the more there are.
        patron.is_some_and(|it| it.bundle.exists() && process_start(it.pid).is_ok_and(|started| started == it.started))
            || self.is_inhabited()
    }

    /// Whether a process is in it.
    fn is_inhabited(&self) -> bool {
        let Ok(own) = fstat(&self.0) else { return false };
        // As the link of each process shows it (namespaces(7)).
        let name = format!("net:[{}]", own.st_ino);
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit());
        pids.map(|entry| entry.path().join("ns/net"))
            .any(|link| fs::read_link(link).is_ok_and(|text| text == Path::new(&name)))
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn own_cookie() -> Result<u64> {
    let what = || "ask for the network namespace's cookie (Linux 5.14 or later)".to_owned();
    let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).doing(what)?;
    NetnsCookie.get(&probe).doing(what)
}

/// `SO_NETNS_COOKIE`, socket(7).
#[derive(Clone, Copy)]
struct NetnsCookie;

impl GetSockOpt for NetnsCookie {
    type Val = u64;

    #[allow(unsafe_code)]
    fn get<F: AsFd>(&self, fd: &F) -> nix::Result<u64> {
        use std::os::fd::AsRawFd;
        let mut cookie = 0u64;
        let mut length = size_of::<u64>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into `cookie`, which lives and is that large.
        let result = unsafe {
            libc::getsockopt(
                fd.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_NETNS_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        };
        nix::errno::Errno::result(result).map(|_| cookie)
    }
}
