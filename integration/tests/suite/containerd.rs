//! The real containerd, which starts our shim, and `ctr`, which talks to it.

use anyhow::{Result, ensure};
use ocinet_integration::containerd::with_containerd;
use ocinet_integration::{Mode, PEER, Proto::Tcp, UPLINK};

/// A container that asks for nothing is on the bridge; one that asks for a port is reached from the LAN.
#[test]
fn a_published_port_reaches_it() -> Result<()> {
    with_containerd(|host, containerd| {
        let web = containerd.run("web", "--annotation io.ocinet.publish=8080:80", "80")?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?.seen_from(PEER)?;
        let plain = containerd.run("plain", "", "80")?;
        ensure!(plain.record()?.mode == Mode::Bridge, "{:#?}", plain.record()?);
        host.reaches(Tcp, format!("{}:80", plain.address()?))?.is("plain")?;
        web.reaches(Tcp, format!("{}:80", plain.address()?))?.is("plain")?;
        let hosts = web.exec("cat /etc/hosts")?;
        ensure!(hosts.contains(&format!("{}\tweb", web.address()?)), "{hosts}");
        ensure!(web.exec("busybox hostname")?.trim() == "web", "its host name");
        host.check()?;
        plain.delete()?;
        web.delete()?;
        host.settles()
    })
}
