//! Waiting for something without sleeping longer than needed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Far longer than anything takes, also on a machine where other tests hold the kernel's one lock for links most of the
/// time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds` is true, for at most half a minute. `what` names the condition in the error.
pub fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain we waited until {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
