//! Waiting for something without sleeping longer than needed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Far longer than anything takes, also on a machine where other tests keep the kernel's one lock for links busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`, for at most half a minute; `what` says in the error what did not come true.
pub fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain we waited until {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
