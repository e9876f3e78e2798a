//! What a worker may do: read the state directory, answer at sockets that it was given, and ask other servers.
//!
//! It reads what hostile containers send. One that is taken over must be of no use, although it is root, as which alone
//! it may read the store. So it gives up, in this order:
//!
//! 1. every capability, also of programs that it might run, and with `no_new_privs` all ways to others;
//! 2. all files but those below the state directory, which it may read; all TCP connections but to port 53; signals and
//!    abstract sockets of others: Landlock, as much of it as the kernel has;
//! 3. all system calls but those of its work (seccomp(2)). Of these, `socket` is for IPv4 and IPv6 alone: as root it
//!    could otherwise have containerd or systemd do what it may not, since Landlock knows Unix sockets that have a path
//!    only from Linux 7.1 on. And no memory becomes executable.

use std::collections::BTreeMap;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, make_bitflags,
};
use nix::libc;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// The newest kernel's rights that are known here.
const LANDLOCK: ABI = ABI::V6;

/// The most memory that a worker may have: a thousand containers need a tenth of it.
const MEMORY: u64 = 64 << 20;

/// The port of name servers.
const PORT: u16 = 53;

/// What holds a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// How much of Landlock the kernel has: `whole`, `partly`, `none`.
    pub landlock: &'static str,
}

/// Gives up everything but the work on the store in `state_dir`. For a process with one thread.
///
/// # Errors
/// When something of it cannot be given up, but for Landlock, which kernels may lack.
pub fn confine(state_dir: &Path) -> Result<Confined, String> {
    let refused = |what: &'static str| move |error: &dyn std::fmt::Display| format!("cannot give up {what}: {error}");
    setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY).map_err(|error| refused("memory")(&error))?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0).map_err(|error| refused("files")(&error))?;
    // The bounding set first: to change it is itself a capability.
    for set in [
        caps::CapSet::Bounding,
        caps::CapSet::Ambient,
        caps::CapSet::Inheritable,
        caps::CapSet::Effective,
        caps::CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| refused("capabilities")(&error))?;
    }
    set_no_new_privs().map_err(|error| refused("new rights")(&error))?;
    let directory = PathFd::new(state_dir).map_err(|error| refused("files")(&error))?;
    let landlock = restrict_files(directory).map_err(|error| refused("files")(&error))?;
    let filter = filter().map_err(|error| refused("system calls")(&error))?;
    apply_filter(&filter).map_err(|error| refused("system calls")(&error))?;
    Ok(Confined { landlock })
}

fn restrict_files(directory: PathFd) -> Result<&'static str, landlock::RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rule(PathBeneath::new(directory, read))?
        .add_rule(NetPort::new(PORT, AccessNet::ConnectTcp))?;
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => "whole",
        RulesetStatus::PartiallyEnforced => "partly",
        RulesetStatus::NotEnforced => "none",
    })
}

/// The calls that are made whatever their arguments are.
const CALLS: &[libc::c_long] = &[
    // Memory, time, chance and the end.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Files, which Landlock judges.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fcntl,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    // Sockets that are there.
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
];

/// The same of processors whose kernel has older forms of them, too.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[libc::c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_epoll_wait,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[libc::c_long] = &[];

/// Lets the calls of the work pass. Any other fails with EPERM, as where a right is missing, and so also where a new
/// version of a library makes another call of which it can do without.
fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let is = |argument, value: i32| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value.cast_unsigned().into())
    };
    let is_not_executable = || {
        let flag = libc::PROT_EXEC.cast_unsigned().into();
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flag), 0)
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().chain(OLDER_CALLS).map(|call| (*call, vec![])).collect();
    let of = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    rules.insert(libc::SYS_socket, vec![of(vec![is(0, libc::AF_INET)?])?, of(vec![is(0, libc::AF_INET6)?])?]);
    // How the standard library has a socket not wait.
    rules.insert(libc::SYS_ioctl, vec![of(vec![is(1, libc::FIONBIO as i32)?])?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![of(vec![is_not_executable()?])?]);
    }
    let other = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, other, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
}
