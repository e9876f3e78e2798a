use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, GetSockOpt, SockFlag, SockProtocol, SockType, socket};
use rustix::fs::fstat;

use super::running::{Origin, Running, running};
use super::visit;
use crate::decide::liveness::Sight;
use crate::kernel::error::{Doing, Result};
use crate::model::{Namespace, NetnsLocator, Requester};

/// The namespace of a thread that reads it (namespaces(7)).
const OWN: &str = "/proc/thread-self/ns/net";
/// Longer than a visit that only looks takes.
const VISIT: Duration = Duration::from_millis(2);

/// A network namespace, kept alive by a descriptor.
pub struct Netns {
    namespace: OwnedFd,
    /// A socket in it, where one is kept.
    socket: OnceLock<OwnedFd>,
}

impl Netns {
    /// The namespace of this thread.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub(in crate::kernel) fn own() -> Result<Self> {
        Self::at(Path::new(OWN))
    }

    /// The namespace that `path` is bound to.
    ///
    /// # Errors
    /// When the path is not bound to a network namespace.
    pub fn at(path: &Path) -> Result<Self> {
        // Non-blocking: the path may be a FIFO.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .doing(|| format!("open network namespace {}", path.display()))?;
        Ok(OwnedFd::from(file).into())
    }

    /// Makes the socket by which the namespace is asked and changed, and keeps it: a socket belongs to the namespace in
    /// which it was made, so that what follows needs no visit.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn keep_socket(&self) -> Result<()> {
        self.socket().map(drop)
    }

    /// That socket, for links, addresses and routes.
    pub(in crate::kernel) fn socket(&self) -> Result<BorrowedFd<'_>> {
        if self.socket.get().is_none() {
            let made = self.within(route_socket)?;
            let _ = self.socket.set(made);
        }
        self.socket.get().map(AsFd::as_fd).ok_or(Errno::ENOTSOCK).doing(|| "keep a socket".into())
    }

    /// Runs `work` inside the namespace.
    ///
    /// # Errors
    /// Those of `work`, or that the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        visit::network(self.namespace.as_fd(), work)
    }

    /// The namespace's `SO_NETNS_COOKIE`.
    ///
    /// # Errors
    /// On kernels before 5.14.
    pub fn cookie(&self) -> Result<u64> {
        match self.socket.get() {
            Some(socket) => cookie_of(socket),
            None => self.within(own_cookie),
        }
    }

    /// Runs `work` in a new namespace, which ends with it.
    ///
    /// # Errors
    /// Those of `work`, or that no namespace can be made.
    pub fn in_new<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        visit::new_network(work)
    }

    /// Makes a namespace and binds it to the file `path`, which keeps it alive until it is unmounted. Also returns its
    /// cookie: reading that later would take another visit.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(path: &Path) -> Result<(Self, u64)> {
        Self::make_as(path, || Ok(()))
    }

    /// The same, bound to the path only once `prepare` has done its work in it.
    ///
    /// # Errors
    /// Those of `prepare`, or when the kernel refuses.
    pub(in crate::kernel) fn make_as(path: &Path, prepare: impl FnOnce() -> Result<()> + Send) -> Result<(Self, u64)> {
        let what = || format!("make network namespace {}", path.display());
        visit::new_network(|| {
            prepare()?;
            mount(Some(Path::new(OWN)), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).doing(what)?;
            Ok((Self::at(path)?, own_cookie()?))
        })
    }

    /// Looks for a recorded namespace. One that cannot be examined is [`Sight::Failed`] or [`Sight::Hidden`], never
    /// [`Sight::Gone`].
    pub fn look(recorded: &Namespace, origin: &Origin) -> Sight<Self> {
        let here = match origin.here() {
            Ok(here) => here,
            Err(error) => return Sight::Failed(error.to_string()),
        };
        let same_pids = recorded.seen_from_pid_ns == here.pid_ns;
        let same_paths = recorded.seen_from_mnt_ns == here.mnt_ns;
        let found = match &recorded.locator {
            NetnsLocator::Unseen => return Sight::Hidden("it was found by its link alone".into()),
            NetnsLocator::Process { .. } if !same_pids => return hidden("pid"),
            NetnsLocator::Path(_) if !same_paths => return hidden("mount"),
            NetnsLocator::Made { .. } if !same_paths || !same_pids => return hidden("mount or pid"),
            NetnsLocator::Process { pid, started } => Self::of_process(*pid, *started),
            NetnsLocator::Path(path) | NetnsLocator::Made { path, .. } => Self::at_path(path),
        };
        let netns = match found {
            Sight::Alive(netns) => netns,
            other => return other,
        };
        match netns.cookie() {
            Err(error) => Sight::Failed(error.to_string()),
            Ok(cookie) if cookie != recorded.cookie => {
                Sight::Missing(format!("{} leads to another network namespace now", place(&recorded.locator)))
            }
            Ok(_) => match &recorded.locator {
                NetnsLocator::Made { requester, .. } => netns.if_wanted(requester.as_ref()),
                _ => Sight::Alive(netns),
            },
        }
    }

    fn of_process(pid: i32, started: u64) -> Sight<Self> {
        if let Some(other) = Self::unless_running(pid, started) {
            return other;
        }
        let opened = Self::at(Path::new(&format!("/proc/{pid}/ns/net")));
        // The process may have ended meanwhile, and another one may have its pid.
        Self::unless_running(pid, started).unwrap_or_else(|| match opened {
            Ok(netns) => Sight::Alive(netns),
            Err(error) => Sight::Failed(error.to_string()),
        })
    }

    /// The result for a process that does not run, or of which that is unknown; `None` for one that runs.
    fn unless_running(pid: i32, started: u64) -> Option<Sight<Self>> {
        match running(pid, started) {
            Ok(Running::Yes) => None,
            Ok(Running::No) => Some(Sight::Gone),
            Ok(Running::Other) => Some(Sight::Missing(format!("process {pid} started at another time"))),
            Err(error) => Some(Sight::Failed(error.to_string())),
        }
    }

    fn at_path(path: &Path) -> Sight<Self> {
        match Self::at(path) {
            Ok(netns) => Sight::Alive(netns),
            Err(error) if error.errno() == Some(libc::ENOENT) => Sight::Missing(format!("{} is gone", path.display())),
            Err(error) => Sight::Failed(error.to_string()),
        }
    }

    /// Alive only if it is needed: a namespace that we made is kept by its path, also when no container needs it any
    /// more.
    fn if_wanted(self, requester: Option<&Requester>) -> Sight<Self> {
        // The requester is checked first: a search for processes takes long where there are many.
        let wanted = requester.map_or(Ok(false), is_there);
        match (wanted, || self.is_inhabited()) {
            (Ok(true), _) => Sight::Alive(self),
            (wanted, inhabited) => match (inhabited(), wanted) {
                (Ok(true), _) => Sight::Alive(self),
                (Ok(false), Ok(_)) => Sight::Gone,
                (Err(error), _) | (Ok(false), Err(error)) => Sight::Failed(error.to_string()),
            },
        }
    }

    /// Whether a process is in it, and stays: a command of ours that looks at it is in it for a moment.
    fn is_inhabited(&self) -> Result<bool> {
        if !self.is_visited()? {
            return Ok(false);
        }
        thread::sleep(VISIT);
        self.is_visited()
    }

    /// Whether a process is in it now.
    fn is_visited(&self) -> Result<bool> {
        let what = || "look for processes in a network namespace".to_owned();
        let own = fstat(&self.namespace).doing(what)?;
        // The name in the link of each process in it (namespaces(7)).
        let name = format!("net:[{}]", own.st_ino);
        let mut unseen = None;
        for entry in fs::read_dir("/proc").doing(what)? {
            let entry = entry.doing(what)?;
            if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
                continue;
            }
            match is_in(&entry.path(), Path::new(&name)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => unseen = Some(error),
            }
        }
        if unseen.is_none() && hides_processes().doing(what)? {
            unseen = Some(io::Error::other("/proc is mounted with hidepid"));
        }
        unseen.map_or(Ok(false), |error| Err(error).doing(what))
    }
}

/// Whether the process with the given folder of /proc, or one of its threads, is in the network namespace called
/// `name`.
fn is_in(process: &Path, name: &Path) -> io::Result<bool> {
    if let Some(text) = ended_or(fs::read_link(process.join("ns/net")))? {
        return Ok(text == name);
    }
    // A first thread that has ended is in no namespace, while other threads may run.
    let Some(threads) = ended_or(fs::read_dir(process.join("task")))? else { return Ok(false) };
    for thread in threads {
        let Some(thread) = ended_or(thread)? else { continue };
        if ended_or(fs::read_link(thread.path().join("ns/net")))?.is_some_and(|text| text == name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `None` if the process has ended.
fn ended_or<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        result => result.map(Some),
    }
}

/// Whether /proc leaves out processes that this one may not examine (proc(5), `hidepid`).
fn hides_processes() -> io::Result<bool> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let hides = |line: &str| {
        let point = line.split(' ').nth(4);
        let option = line.split([' ', ',']).find_map(|field| field.strip_prefix("hidepid="));
        point == Some("/proc") && option.is_some_and(|value| !matches!(value, "0" | "off" | "1" | "noaccess"))
    };
    // A process that may examine the first process may examine all.
    Ok(mounts.lines().any(hides) && fs::read_link("/proc/1/ns/net").is_err())
}

fn hidden<T>(kind: &str) -> Sight<T> {
    Sight::Hidden(format!("it was attached from another {kind} namespace"))
}

fn place(locator: &NetnsLocator) -> String {
    match locator {
        NetnsLocator::Process { pid, .. } => format!("process {pid}"),
        NetnsLocator::Path(path) | NetnsLocator::Made { path, .. } => path.display().to_string(),
        NetnsLocator::Unseen => "its link".into(),
    }
}

/// Whether the engine that asked for a namespace runs, and the container's bundle still exists.
fn is_there(requester: &Requester) -> Result<bool> {
    let bundle = requester.bundle.try_exists().doing(|| format!("look for {}", requester.bundle.display()))?;
    Ok(bundle && running(requester.pid, requester.started)? != Running::No)
}

impl From<OwnedFd> for Netns {
    fn from(namespace: OwnedFd) -> Self {
        Self { namespace, socket: OnceLock::new() }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// A socket for links, addresses and routes in the namespace of this thread.
fn route_socket() -> Result<OwnedFd> {
    let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
    socket(AddressFamily::Netlink, SockType::Datagram, flags, protocol).doing(|| "open a netlink socket".into())
}

fn own_cookie() -> Result<u64> {
    cookie_of(&route_socket()?)
}

/// The cookie of the network namespace in which `socket` was opened.
///
/// # Errors
/// On kernels before 5.14.
pub(in crate::kernel) fn cookie_of(socket: &impl AsFd) -> Result<u64> {
    NetnsCookie.get(socket).doing(|| "ask for the network namespace's cookie (Linux 5.14 or later)".into())
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
        // SAFETY: the kernel writes at most `length` bytes into `cookie`, which is alive and has that size.
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
