//! The machine loses its power while containers run: the real thing. A binary of its own, since cargo runs one after the other: an
//! emulated processor that shares the real ones with seven stories is slower than what the hook waits for.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ocinet_integration::{Output, ocinet};

/// On Debian's kernel in a virtual machine. What the first boot left on disk is a store whose containers, links and rules are gone
/// with the power. A third boot is with `ipv6.disable=1`, which no namespace could be given.
#[test]
fn a_virtual_machine_loses_its_power() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reboot");
    let told = Output::of(Command::new(script).env("OCINET_BIN", ocinet()?), &[])?;
    ensure!(told.code == 0 && told.stdout.contains("All stories ended well"), "{told}");
    println!("{}", told.stdout);
    Ok(())
}
