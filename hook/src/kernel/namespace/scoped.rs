use std::io;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::kernel::error::{Doing, Error, Result};

/// Enough for a few system calls; the default of 2 MiB takes longer to map.
const STACK: usize = 256 << 10;

/// Runs `work` in a thread that ends with it: one that enters a namespace and came back could come back wrong.
///
/// We only wait meanwhile, so the thread gets our processor: to wake up another one, and be woken up by it, takes longer
/// than all its work.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let ours = sched_getaffinity(Pid::from_raw(0)).ok().filter(|_| stay_here().is_ok());
    let result = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let joined = thread.doing(|| "start a thread".into())?.join();
        joined.unwrap_or_else(|_| Err(Error::refused("work in a namespace", io::Error::other("the thread panicked"))))
    });
    if let Some(ours) = ours {
        // What was allowed a moment ago is still.
        let _ = sched_setaffinity(Pid::from_raw(0), &ours);
    }
    result
}

/// Keeps this thread, and those it starts, on the processor it runs on.
fn stay_here() -> nix::Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &here)
}
