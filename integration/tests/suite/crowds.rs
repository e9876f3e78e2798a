//! Two hundred containers at once.

use anyhow::{Result, ensure};
use ocinet_integration::survive::{crowds, recovery, too_small_a_subnet};

/// They are attached and detached, halfway both at once, while `gc` runs all the time: there is no error, and no
/// address or port is given twice.
#[test]
fn two_hundred_at_once() -> Result<()> {
    crowds(200, 1)?.is_clean()
}

/// Exactly the surplus is refused with exit code 4, and is attached after others have ended.
#[test]
fn more_than_the_subnet_has_room_for() -> Result<()> {
    too_small_a_subnet(2)
}

/// The first hook after a flush restores the ports of all containers.
#[test]
fn two_hundred_endpoints_after_a_flush() -> Result<()> {
    let times = recovery(200, 5)?;
    // Other tests run beside this one, so the best of a few times counts.
    ensure!(times.percentile(0) < 500.0, "it took {times}");
    Ok(())
}
