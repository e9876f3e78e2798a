//! The machine loses its power while containers run, with a real boot. It is a binary of its own, since cargo runs one
//! binary after the other: an emulated processor that shares the real ones with seven stories is slower than the hook's
//! deadlines.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ocinet_integration::{Output, helper, ocinet};

/// On Debian's kernel in a virtual machine. The first boot leaves a store on disk whose containers, links and rules are
/// gone. A third boot is with `ipv6.disable=1`, which no network namespace can be given.
#[test]
fn a_virtual_machine_loses_its_power() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reboot");
    let told = Output::of(Command::new(script).env("OCINET_BIN", ocinet()?).env("PROBE", helper("probe")?), &[])?;
    ensure!(told.code == 0 && told.stdout.contains("All stories ended well"), "{told}");
    println!("{}", told.stdout);
    Ok(())
}
