use std::io;
use std::thread;

use super::error::{Doing, Error, Result};

/// Enough for a few system calls; the default of 2 MiB takes longer to map.
const STACK: usize = 256 << 10;

/// Runs `work` in a thread that ends with it: one that enters a namespace and came back could come back wrong.
pub(super) fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let joined = thread.doing(|| "start a thread".into())?.join();
        joined.unwrap_or_else(|_| Err(Error::refused("work in a namespace", io::Error::other("the thread panicked"))))
    })
}
