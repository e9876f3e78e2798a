use std::io;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::kernel::error::{Doing, Error, Result};

/// Enough for a few system calls; the default of 2 MiB takes longer to map.
const STACK: usize = 256 << 10;

/// Runs `work` in a scoped thread, which ends with it. A thread that has entered a namespace is not reused, since the
/// return could fail.
///
/// The caller only waits meanwhile, so the thread is bound to the caller's processor. Waking up another processor, and
/// being woken up by it, would take longer than the work.
pub(super) fn in_scoped_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let ours = sched_getaffinity(Pid::from_raw(0)).ok().filter(|_| stay_here().is_ok());
    let result = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let joined = thread.doing(|| "start a thread".into())?.join();
        joined.unwrap_or_else(|_| Err(Error::refused("work in a namespace", io::Error::other("the thread panicked"))))
    });
    if let Some(ours) = ours {
        // The caller was allowed to run on these processors a moment ago.
        let _ = sched_setaffinity(Pid::from_raw(0), &ours);
    }
    result
}

/// Binds this thread, and the threads that it starts, to the processor that it runs on.
fn stay_here() -> nix::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)
}
