//! A state directory that outlives the boot in which it was written. `virtual_machine.rs` tests it with a real boot.

use anyhow::{Result, ensure};
use ocinet_integration::{Proto::Tcp, Settings, UPLINK, eventually};

/// More than a boot leaves: a store of another boot, one of a later version, and random text. None is read; the first
/// container removes them.
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
        ensure!(host.sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
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
