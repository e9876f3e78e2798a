//! Which errors a system call can give, by its man page and its arguments.
//!
//! These are the errors of a full table, of no memory, of a full file system, of a missing right, and of a signal.
//! Calls that cannot fail are left alone, and so are calls that release memory or descriptors: their caller could not
//! handle an error. `brk` reports by its result that there is no more memory, not by an error.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use nix::errno::Errno::{self, EACCES, EAGAIN, EINTR, EMFILE, ENOLCK, ENOMEM, ENOSPC, EPERM};
use nix::libc::{self, c_long};
use nix::unistd::Pid;

use When::{Always, ByPath, Creating, Duplicating, Locking, LockingWait, OfKernel, OnFile, OnStream, Setting, Waiting};

/// A system call that a stopped thread is about to make (proc_pid_syscall(5)).
pub(crate) struct Syscall {
    thread: Pid,
    /// Its number on this machine.
    number: c_long,
    arguments: Vec<u64>,
}

/// A kind of system call.
struct Kind {
    number: c_long,
    name: &'static str,
    object: Object,
    errors: &'static [(Errno, When)],
}

/// The argument that names the object of a call.
#[derive(Clone, Copy)]
enum Object {
    /// The address of a path.
    Path(usize),
    Descriptor(usize),
    Nothing,
}

/// When an error is possible.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The call may make a file (`O_CREAT`).
    Creating,
    /// The call walks a path. It does not with `AT_EMPTY_PATH`, or without any path: then it uses an open descriptor.
    ByPath,
    /// The descriptor is that of a file.
    OnFile,
    /// The descriptor is that of a pipe, a socket or a terminal, where a call can wait, and a signal can interrupt it.
    OnStream,
    /// The call takes a lock.
    Locking,
    /// The call waits for a lock.
    LockingWait,
    /// The call makes a copy of a descriptor (`F_DUPFD`).
    Duplicating,
    /// The message comes from the kernel, which may have had no memory for the rest of a dump.
    OfKernel,
    /// The call waits for a message, or for another thread.
    Waiting,
    /// The call changes a limit.
    Setting,
}

const fn kind(number: c_long, name: &'static str, object: Object, errors: &'static [(Errno, When)]) -> Kind {
    Kind { number, name, object, errors }
}

/// The errors of a path walk.
const WALK: &[(Errno, When)] = &[(ENOMEM, Always), (EACCES, Always)];
const LOOK: &[(Errno, When)] = &[(ENOMEM, ByPath), (EACCES, ByPath)];
const CHANGE: &[(Errno, When)] = &[(ENOMEM, Always), (EPERM, Always)];
const ENTRY: &[(Errno, When)] = &[(ENOMEM, Always), (EACCES, Always), (ENOSPC, Always)];
const OPEN: &[(Errno, When)] = &[(ENOMEM, Always), (EMFILE, Always), (EACCES, Always), (ENOSPC, Creating)];
const MOUNT: &[(Errno, When)] = &[(ENOMEM, Always), (EPERM, Always), (ENOSPC, Always)];
const SEND: &[(Errno, When)] = &[(ENOMEM, Always), (EPERM, Always), (EINTR, Always)];
const RECEIVE: &[(Errno, When)] = &[(ENOMEM, OfKernel), (EINTR, Waiting)];
const READ: &[(Errno, When)] = &[(ENOMEM, OnFile), (EINTR, OnStream)];
const WRITE: &[(Errno, When)] = &[(ENOSPC, OnFile), (EPERM, OnFile), (EINTR, OnStream)];
const FORK: &[(Errno, When)] = &[(ENOMEM, Always), (EAGAIN, Always)];
const WAIT: &[(Errno, When)] = &[(EINTR, Always)];
const MEMORY: &[(Errno, When)] = &[(ENOMEM, Always)];

/// Each kind of call that can fail.
const KINDS: &[Kind] = &[
    kind(libc::SYS_access, "access", Object::Path(0), WALK),
    kind(libc::SYS_bind, "bind", Object::Descriptor(0), &[(EACCES, Always)]),
    kind(libc::SYS_chdir, "chdir", Object::Path(0), WALK),
    kind(libc::SYS_chmod, "chmod", Object::Path(0), CHANGE),
    kind(libc::SYS_clock_nanosleep, "clock_nanosleep", Object::Nothing, WAIT),
    kind(libc::SYS_clone, "clone", Object::Nothing, FORK),
    kind(libc::SYS_clone3, "clone3", Object::Nothing, FORK),
    kind(libc::SYS_connect, "connect", Object::Descriptor(0), &[(EACCES, Always), (EAGAIN, Always), (EINTR, Always)]),
    kind(libc::SYS_dup, "dup", Object::Descriptor(0), &[(EMFILE, Always)]),
    kind(libc::SYS_epoll_create1, "epoll_create1", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always)]),
    kind(libc::SYS_eventfd2, "eventfd2", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always)]),
    kind(libc::SYS_execve, "execve", Object::Path(0), &[(ENOMEM, Always), (EACCES, Always)]),
    kind(libc::SYS_faccessat2, "faccessat2", Object::Path(1), WALK),
    kind(libc::SYS_fallocate, "fallocate", Object::Descriptor(0), &[(ENOSPC, Always), (EINTR, Always)]),
    kind(libc::SYS_fchmod, "fchmod", Object::Descriptor(0), &[(EPERM, Always)]),
    kind(libc::SYS_fchown, "fchown", Object::Descriptor(0), &[(EPERM, Always)]),
    kind(
        libc::SYS_fcntl,
        "fcntl",
        Object::Descriptor(0),
        &[(EAGAIN, Locking), (ENOLCK, Locking), (EINTR, LockingWait), (EMFILE, Duplicating)],
    ),
    kind(libc::SYS_flock, "flock", Object::Descriptor(0), &[(EINTR, Always), (ENOLCK, Always)]),
    kind(libc::SYS_fork, "fork", Object::Nothing, FORK),
    kind(libc::SYS_fsetxattr, "fsetxattr", Object::Descriptor(0), &[(ENOSPC, Always), (EPERM, Always)]),
    kind(libc::SYS_fsync, "fsync", Object::Descriptor(0), &[(ENOSPC, Always), (EINTR, Always)]),
    kind(libc::SYS_ftruncate, "ftruncate", Object::Descriptor(0), &[(EPERM, Always), (EINTR, Always)]),
    kind(libc::SYS_futex, "futex", Object::Nothing, &[(EINTR, Waiting)]),
    kind(libc::SYS_getdents64, "getdents64", Object::Descriptor(0), MEMORY),
    kind(libc::SYS_inotify_add_watch, "inotify_add_watch", Object::Path(1), &[(ENOMEM, Always), (ENOSPC, Always)]),
    kind(libc::SYS_inotify_init1, "inotify_init1", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always)]),
    kind(libc::SYS_kill, "kill", Object::Nothing, &[(EPERM, Always)]),
    kind(libc::SYS_lstat, "lstat", Object::Path(0), WALK),
    kind(libc::SYS_memfd_create, "memfd_create", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always)]),
    kind(libc::SYS_mkdir, "mkdir", Object::Path(0), ENTRY),
    kind(libc::SYS_mkdirat, "mkdirat", Object::Path(1), ENTRY),
    kind(libc::SYS_mmap, "mmap", Object::Nothing, MEMORY),
    kind(libc::SYS_mount, "mount", Object::Path(1), MOUNT),
    kind(libc::SYS_mount_setattr, "mount_setattr", Object::Descriptor(0), CHANGE),
    kind(libc::SYS_move_mount, "move_mount", Object::Descriptor(2), MOUNT),
    kind(libc::SYS_mprotect, "mprotect", Object::Nothing, MEMORY),
    kind(libc::SYS_mremap, "mremap", Object::Nothing, MEMORY),
    kind(libc::SYS_newfstatat, "newfstatat", Object::Path(1), LOOK),
    kind(libc::SYS_open, "open", Object::Path(0), OPEN),
    kind(libc::SYS_open_tree, "open_tree", Object::Path(1), &[(ENOMEM, Always), (EMFILE, Always), (EPERM, Always)]),
    kind(libc::SYS_openat, "openat", Object::Path(1), OPEN),
    kind(
        libc::SYS_openat2,
        "openat2",
        Object::Path(1),
        &[(ENOMEM, Always), (EMFILE, Always), (EACCES, Always), (EAGAIN, Always)],
    ),
    kind(libc::SYS_pidfd_open, "pidfd_open", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always)]),
    kind(libc::SYS_pipe2, "pipe2", Object::Nothing, &[(EMFILE, Always)]),
    kind(libc::SYS_poll, "poll", Object::Nothing, &[(ENOMEM, Always), (EINTR, Always)]),
    kind(libc::SYS_ppoll, "ppoll", Object::Nothing, &[(ENOMEM, Always), (EINTR, Always)]),
    kind(libc::SYS_pread64, "pread64", Object::Descriptor(0), READ),
    kind(libc::SYS_prlimit64, "prlimit64", Object::Nothing, &[(EPERM, Setting)]),
    kind(libc::SYS_pwrite64, "pwrite64", Object::Descriptor(0), WRITE),
    kind(libc::SYS_read, "read", Object::Descriptor(0), READ),
    kind(libc::SYS_readlink, "readlink", Object::Path(0), WALK),
    kind(libc::SYS_readlinkat, "readlinkat", Object::Path(1), WALK),
    kind(libc::SYS_recvfrom, "recvfrom", Object::Descriptor(0), RECEIVE),
    kind(libc::SYS_recvmmsg, "recvmmsg", Object::Descriptor(0), MEMORY),
    kind(libc::SYS_recvmsg, "recvmsg", Object::Descriptor(0), RECEIVE),
    kind(libc::SYS_rename, "rename", Object::Path(1), ENTRY),
    kind(libc::SYS_renameat, "renameat", Object::Path(3), ENTRY),
    kind(libc::SYS_renameat2, "renameat2", Object::Path(3), ENTRY),
    kind(libc::SYS_rmdir, "rmdir", Object::Path(0), CHANGE),
    kind(libc::SYS_sched_setaffinity, "sched_setaffinity", Object::Nothing, &[(EPERM, Always)]),
    kind(libc::SYS_sendmsg, "sendmsg", Object::Descriptor(0), SEND),
    kind(libc::SYS_sendto, "sendto", Object::Descriptor(0), SEND),
    kind(libc::SYS_sethostname, "sethostname", Object::Nothing, &[(EPERM, Always)]),
    kind(libc::SYS_setns, "setns", Object::Descriptor(0), CHANGE),
    kind(libc::SYS_setsid, "setsid", Object::Nothing, &[(EPERM, Always)]),
    kind(libc::SYS_setsockopt, "setsockopt", Object::Descriptor(0), &[(ENOMEM, Always)]),
    kind(libc::SYS_socket, "socket", Object::Nothing, &[(ENOMEM, Always), (EMFILE, Always), (EACCES, Always)]),
    kind(libc::SYS_socketpair, "socketpair", Object::Nothing, &[(EMFILE, Always)]),
    kind(libc::SYS_stat, "stat", Object::Path(0), WALK),
    kind(libc::SYS_statfs, "statfs", Object::Path(0), WALK),
    kind(libc::SYS_statx, "statx", Object::Path(1), LOOK),
    kind(libc::SYS_umount2, "umount2", Object::Path(0), CHANGE),
    kind(libc::SYS_unlink, "unlink", Object::Path(0), CHANGE),
    kind(libc::SYS_unlinkat, "unlinkat", Object::Path(1), CHANGE),
    kind(libc::SYS_unshare, "unshare", Object::Nothing, MOUNT),
    kind(libc::SYS_vfork, "vfork", Object::Nothing, FORK),
    kind(libc::SYS_wait4, "wait4", Object::Nothing, WAIT),
    kind(libc::SYS_waitid, "waitid", Object::Nothing, WAIT),
    kind(libc::SYS_write, "write", Object::Descriptor(0), WRITE),
    kind(libc::SYS_writev, "writev", Object::Descriptor(0), WRITE),
];

impl Syscall {
    /// The call that a thread stopped at system call entry is about to make; `None` if the thread has ended.
    pub(crate) fn of(thread: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
        let mut words = text.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        Some(Self { thread, number, arguments: words.map_while(hex).take(6).collect() })
    }

    /// The number of the call on this machine.
    pub(crate) fn number(&self) -> u64 {
        self.number.cast_unsigned()
    }

    /// The name of the call and the errors that it can give; `None` for a call that cannot fail.
    pub(crate) fn errors(&self) -> Option<(&'static str, Vec<Errno>)> {
        let kind = self.kind()?;
        let possible = kind.errors.iter().filter(|(_, when)| self.is(*when));
        let errors: Vec<_> = possible.map(|(error, _)| *error).collect();
        (!errors.is_empty()).then_some((kind.name, errors))
    }

    /// The object of the call, as text for messages.
    pub(crate) fn object(&self) -> String {
        let found = self.kind().and_then(|kind| match kind.object {
            Object::Path(index) => self.path(index),
            Object::Descriptor(index) => self.target(index),
            Object::Nothing => None,
        });
        found.unwrap_or_default()
    }

    fn kind(&self) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.number == self.number)
    }

    fn argument(&self, index: usize) -> u64 {
        self.arguments.get(index).copied().unwrap_or_default()
    }

    fn has(&self, index: usize, flag: i32) -> bool {
        self.argument(index) & u64::from(flag.cast_unsigned()) != 0
    }

    fn is(&self, when: When) -> bool {
        let command = || i32::try_from(self.argument(1)).unwrap_or_default();
        let is_file = || self.target(0).is_some_and(|target| target.starts_with('/') && !target.starts_with("/dev/"));
        match when {
            Always => true,
            Creating => self.has(if self.number == libc::SYS_open { 1 } else { 2 }, libc::O_CREAT),
            ByPath => {
                let flags = if self.number == libc::SYS_statx { 2 } else { 3 };
                !self.has(flags, libc::AT_EMPTY_PATH)
            }
            OnFile => is_file(),
            OnStream => !is_file(),
            Locking => {
                [libc::F_OFD_SETLK, libc::F_OFD_SETLKW, libc::F_SETLK, libc::F_SETLKW].contains(&command())
                    && !self.unlocks()
            }
            LockingWait => [libc::F_OFD_SETLKW, libc::F_SETLKW].contains(&command()),
            Duplicating => [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC].contains(&command()),
            Waiting if self.number == libc::SYS_futex => {
                let operation = command() & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
                [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&operation)
            }
            Waiting => !self.has(if self.number == libc::SYS_recvmsg { 2 } else { 3 }, libc::MSG_DONTWAIT),
            OfKernel => self.is_netlink(),
            Setting => self.argument(2) != 0,
        }
    }

    /// Whether the descriptor is a netlink socket. The last field of a line in /proc/net/netlink is the inode.
    fn is_netlink(&self) -> bool {
        let sockets = fs::read_to_string(format!("/proc/{}/net/netlink", self.thread)).unwrap_or_default();
        let inodes = sockets.lines().filter_map(|line| line.split_whitespace().next_back());
        let target = self.target(0).unwrap_or_default();
        inodes.map(|inode| format!("socket:[{inode}]")).any(|socket| socket == target)
    }

    /// Whether a lock call releases a lock. Its `struct flock` begins with the type.
    fn unlocks(&self) -> bool {
        let kind = self.memory(2, 2).and_then(|bytes| Some(i16::from_ne_bytes(bytes.try_into().ok()?)));
        kind.is_some_and(|kind| i32::from(kind) == libc::F_UNLCK)
    }

    /// The path at the address that an argument holds.
    fn path(&self, index: usize) -> Option<String> {
        let bytes = self.memory(index, 256)?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// The memory at the address that an argument holds, at most `most` bytes.
    fn memory(&self, index: usize, most: usize) -> Option<Vec<u8>> {
        let memory = File::open(format!("/proc/{}/mem", self.thread)).ok()?;
        let mut bytes = vec![0; most];
        let length = memory.read_at(&mut bytes, self.argument(index)).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    /// What a descriptor leads to (proc_pid_fd(5)).
    fn target(&self, index: usize) -> Option<String> {
        let link = fs::read_link(format!("/proc/{}/fd/{}", self.thread, self.argument(index))).ok()?;
        Some(link.to_string_lossy().into_owned())
    }
}
