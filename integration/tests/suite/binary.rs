//! The shipped binary.

use anyhow::{Result, ensure};
use ocinet_integration::{is_static, ocinet};

/// Without RUSTFLAGS cargo silently makes a dynamic binary, which does not start in a root file system without a
/// loader.
#[test]
fn it_is_static() -> Result<()> {
    let path = ocinet()?;
    ensure!(is_static(&path)?, "{} needs a dynamic loader", path.display());
    Ok(())
}

/// What ARCHITECTURE.md promises.
#[test]
fn it_is_small() -> Result<()> {
    let size = std::fs::metadata(ocinet()?)?.len();
    ensure!(size <= 7 << 20, "the binary has {size} bytes");
    Ok(())
}
