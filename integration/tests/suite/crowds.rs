//! Two hundred at once.

use anyhow::{Result, ensure};
use ocinet_integration::survive::{crowds, recovery, too_small_a_subnet};

/// They come and go, and in the middle both at once, while `gc` runs all the time: no error, and nothing twice.
#[test]
fn two_hundred_at_once() -> Result<()> {
    crowds(200, 1)?.is_clean()
}

/// Exactly the surplus is refused, with exit code 4, and comes in after others have left.
#[test]
fn more_than_the_subnet_has_room_for() -> Result<()> {
    too_small_a_subnet(2)
}

/// The hook that comes after a flush restores everybody's ports.
#[test]
fn two_hundred_endpoints_after_a_flush() -> Result<()> {
    let times = recovery(200, 5)?;
    // Other tests run beside this one, and the best of a few is the least disturbed.
    ensure!(times.percentile(0) < 500.0, "it took {times}");
    Ok(())
}
