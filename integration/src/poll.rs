//! Waiting for something without sleeping longer than needed.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Waits until `holds`, for at most five seconds; `what` says in the error what did not come true.
pub fn eventually(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain we waited until {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
