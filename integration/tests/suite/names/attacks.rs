//! What a hostile container tries. Each attack stands beside one like it that succeeds, or a check that it could.

use anyhow::{Result, ensure};
use ocinet_integration::eventually;

use super::{asks, story};

/// The name server asks other servers from the host, to which more is open than to a container. It asks none that the
/// container could not ask itself.
#[test]
fn it_is_no_deputy() -> Result<()> {
    story(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo; ip address add 192.0.2.99/32 dev lo")?;
        let _servers = [
            peer.name_server("192.0.2.53", "203.0.113.53")?,
            peer.name_server("192.0.2.99", "203.0.113.99")?,
            host.name_server("127.0.0.1", "203.0.113.1")?,
            host.name_server("198.51.100.1", "203.0.113.2")?,
        ];
        let inner = host.container("inner").network("back:ip=10.64.2.9").run()?;
        let _inner = inner.name_server("10.64.2.9", "203.0.113.9")?;
        for (dns, network, expected) in [
            ("192.0.2.99", "front", "203.0.113.99"),
            ("10.64.2.9", "back", "203.0.113.9"),
            // The host's servers, in place of what is not for it.
            ("127.0.0.1", "front", "203.0.113.53"),
            ("::ffff:127.0.0.1", "front", "203.0.113.53"),
            ("198.51.100.1", "front", ""),
            ("10.64.2.9", "front", "203.0.113.53"),
            ("169.254.53.53", "front", "203.0.113.53"),
            ("192.0.2.99", "shut", "NXDOMAIN"),
            ("10.64.2.9", "shut", "NXDOMAIN"),
        ] {
            let one = host.container("one").network(network).annotation("io.ocinet.dns", dns).run()?;
            for protocol in ["udp", "tcp"] {
                let told = asks(&one, protocol, "A", &["www.example.com"])?;
                let is_right = if expected.is_empty() { told == "SERVFAIL:" } else { told.contains(expected) };
                ensure!(is_right, "{dns} for a container on {network} over {protocol}: {told}");
            }
            one.delete()?;
        }
        inner.delete()
    })
}

/// Nothing of what is here leaves the host, and a container that is shut in asks nobody.
#[test]
fn names_of_containers_never_leave() -> Result<()> {
    story(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        // It has an answer for everything.
        let _server = peer.name_server("192.0.2.53", "203.0.113.53")?;
        let web = host.container("web").network("front").run()?;
        let shut = host.container("shut").network("shut").run()?;
        ensure!(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.53/60");
        let told = asks(
            &web,
            "udp",
            "A",
            &["nobody", "nobody.ocinet.internal", "ocinet.internal", "shut.shut.ocinet.internal"],
        )?;
        ensure!(told == "NXDOMAIN:\nNXDOMAIN:\nNOERROR:\nNXDOMAIN:", "{told}");
        ensure!(asks(&shut, "udp", "A", &["www.example.com"])? == "NXDOMAIN:");
        shut.delete()?;
        web.delete()
    })
}

/// Who asks is known by the address: one that no container has gets no answer.
#[test]
fn strangers_get_no_answer() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front:guard=off").run()?;
        ensure!(asks(&web, "udp", "A", &["web"])?.starts_with("NOERROR: 10.64.1."));
        web.sh("ip address add 10.64.1.77/24 dev eth0; ip route replace 169.254.53.53 dev eth0 src 10.64.1.77")?;
        ensure!(asks(&web, "udp", "A", &["web"])? == "none");
        ensure!(asks(&web, "tcp", "A", &["web"])? == "none");
        // With an address of another network, as which it could ask for names there.
        let db = host.container("db").network("back:ip=10.64.2.7").run()?;
        web.sh("ip address add 10.64.2.7/32 dev eth0; ip route replace 169.254.53.53 dev eth0 src 10.64.2.7")?;
        ensure!(asks(&web, "udp", "A", &["db"])? == "none");
        ensure!(asks(&db, "udp", "A", &["db"])? == "NOERROR: 10.64.2.7");
        db.delete()?;
        web.delete()
    })
}

/// Floods of questions, connections that never end, and what is no question, from one container: others are answered,
/// and no worker ends by it.
#[test]
fn a_hostile_container_disturbs_no_other() -> Result<()> {
    story(|host| {
        let bad = host.container("bad").network("front").run()?;
        let web = host.container("web").network("front").run()?;
        let before = host.ocinet("agent status --json")?.success()?;
        // A name that points at itself, ahead, and at the header, where it reads the root; labels that do not end; a count that is a lie; an answer.
        let junk = [
            "000101000001000000000000c00c00010001",
            "000101000001000000000000c01400010001",
            "000101000001000000000000c00000010001",
            "0001010000010000000000003f6161",
            "000101000007000000000000017700000100010000",
            "000181000001000000000000017700000100 01",
            "00012800000100000000000001770000010001",
            "0001",
            "000101000001ffffffffffff01770000010001",
        ];
        let junk: Vec<String> = junk.iter().map(|one| one.replace(' ', "")).collect();
        let command: Vec<&str> =
            ["/mnt/bin/asker", "raw", "169.254.53.53"].into_iter().chain(junk.iter().map(String::as_str)).collect();
        let told = bad.exec(&command)?;
        let codes: Vec<&str> = told.lines().map(|line| line.split(' ').next_back().unwrap_or_default()).collect();
        ensure!(codes[..2] == ["1", "1"] && codes[5] == "none" && codes[7] == "none", "{told}");
        let mut flood = bad.background(&["/mnt/bin/asker", "flood", "169.254.53.53", "6"])?;
        let mut slow = bad.background(&["/mnt/bin/asker", "hold", "169.254.53.53", "100", "6"])?;
        ensure!(flood.line()? == "ready" && slow.line()? == "ready");
        let mut asking = web.background(&["/mnt/bin/asker", "many", "169.254.53.53", "web", "400", "100"])?;
        ensure!(asking.line()? == "ready");
        for _ in 0..5 {
            let told = asks(&web, "tcp", "A", &["web", "bad"])?;
            ensure!(told.matches("NOERROR: 10.64.1.").count() == 2, "{told}");
        }
        let line = asking.line()?;
        ensure!(line.starts_with("400 0 0 "), "{line}");
        let sent: u64 = flood.line()?.parse()?;
        ensure!(sent > 20_000, "the flood was one: {sent}");
        eventually("the slow connections are closed", || Ok(host.ocinet("agent status --json")?.success()? == before))?;
        bad.delete()?;
        web.delete()
    })
}
