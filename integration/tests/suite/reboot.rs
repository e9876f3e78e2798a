//! The machine loses its power while containers run, and its state directory outlives that.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use ocinet_integration::{Output, Proto::Tcp, Settings, UPLINK, eventually, ocinet};

/// The real thing, on Debian's kernel in a virtual machine. What the first boot left on disk is a store whose containers,
/// links and rules are gone with the power. A third boot is with `ipv6.disable=1`, which no namespace could be given.
#[test]
fn a_virtual_machine_loses_its_power() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("reboot");
    let told = Output::of(Command::new(script).env("OCINET_BIN", ocinet()?), &[])?;
    ensure!(told.code == 0 && told.stdout.contains("All stories ended well"), "{told}");
    println!("{}", told.stdout);
    Ok(())
}

/// The same without a virtual machine, and with worse on the disk: a store of another boot, one of a later version, and
/// nonsense. Nobody reads them; the first container takes them away.
#[test]
fn stores_of_other_boots_are_left_behind() -> Result<()> {
    Settings::default().test(|host| {
        host.container("web").publish("8080:80").run()?.abandon()?;
        eventually("the cable is gone", || Ok(!host.sh("ip -o link show type veth")?.contains("ocv")))?;
        // Version 99, where SQLite keeps a store's version: the bytes 60 to 63.
        host.sh("nft delete table inet ocinet; ip link del ocinet0
            cd /run/ocinet
            mv store-*.db store-0123-1.db
            cp store-0123-1.db store-4567-1.db
            printf '\\0\\0\\0\\143' | dd of=store-4567-1.db bs=1 seek=60 conv=notrunc status=none
            echo nonsense | tee store-89ab-1.db store-89ab-1.db-journal")?;
        ensure!(host.records()?.is_empty(), "{:#?}", host.records()?);
        let said = host.ocinet("gc")?.success()?;
        ensure!(said.is_empty(), "{said}");
        let web = host.container("web").publish("8080:80").run()?;
        ensure!(web.at(80)? == "10.90.0.2:80", "{}", web.at(80)?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;
        let stores = host.sh("ls -d /run/ocinet/store-*")?;
        ensure!(stores.lines().count() == 1, "{stores}");
        Ok(())
    })
}
