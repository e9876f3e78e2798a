//! The file that is shipped.

use anyhow::{Result, ensure};
use ocinet_integration::{is_static, ocinet};

/// A lost RUSTFLAGS makes a dynamic binary without a word, and that one does not start where it is needed.
#[test]
fn it_is_static() -> Result<()> {
    let path = ocinet()?;
    ensure!(is_static(&path)?, "{} needs a dynamic loader", path.display());
    Ok(())
}

/// The promise is 8 MiB.
#[test]
fn it_is_small() -> Result<()> {
    let size = std::fs::metadata(ocinet()?)?.len();
    ensure!(size <= 8 << 20, "the binary has {size} bytes");
    Ok(())
}
