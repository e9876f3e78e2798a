//! The same for IPv6: Docker and ufw have tables of their own for it, and firewalld's are for both families.

use anyhow::{Result, ensure};
use ocinet_integration::ForeignFirewall::{self, Docker, Firewalld, Ufw};
use ocinet_integration::Iptables::{Legacy, Nft};
use ocinet_integration::Suite::{Here, Sid};
use ocinet_integration::{Container, Host, Proto::Tcp, every};

use super::without_ours;
use crate::families::{CABLE, Family, at, define};

/// What the program has of IPv6.
fn rules(neighbour: ForeignFirewall, host: &Host) -> Result<String> {
    match neighbour {
        Firewalld(_) => neighbour.rules(host),
        _ => {
            let program = neighbour.program().replace("ip", "ip6");
            host.sh(&format!(r"{program}-save | sed -e '/^#/d' -e 's/\[[0-9:]*\]//'"))
        }
    }
}

fn passes(host: &Host, web: &Container<'_>, family: Family) -> Result<()> {
    host.peer().reaches(Tcp, at(family.uplink(), 8080))?.is("web")?;
    web.reaches(Tcp, at(family.peer(), 7000))?.is("world").map(drop)
}

fn lets_through(neighbour: ForeignFirewall, host: &Host) -> Result<()> {
    let _server = host.peer().serve("world", &["7000"])?;
    // Of IPv6, ufw has two rules more of its own after its first reload.
    neighbour.reload(host)?;
    let before = rules(neighbour, host)?;
    let plain = host.container("plain").network("plain").run()?;
    plain.reaches(Tcp, at(Family::V4.peer(), 7000))?.is("world")?;
    if !matches!(neighbour, Firewalld(_)) {
        ensure!(rules(neighbour, host)? == before, "no network has IPv6: {}", rules(neighbour, host)?);
    }
    let web = host.container("web").network("dual").publish("8080:80").run()?;
    let sibling = host.container("sibling").network("dual").run()?;
    let both = || every(Family::ALL, |family| passes(host, &web, **family));
    both()?;
    let own = at(&Family::V6.address_on(&web, "dual")?, 80);
    sibling.reaches(Tcp, &own)?.is("web")?;
    let open = rules(neighbour, host)?;
    ensure!(without_ours(&open) == without_ours(&before), "{before}\nbecame\n{open}");
    let program = neighbour.program().replace("ip", "ip6");
    let jump = "-m comment --comment 'containers of ocinet' -j OCINET-PASSAGE";
    let shut = match neighbour {
        Docker(..) => format!("{program} -D DOCKER-USER {jump}"),
        Ufw(_) => format!("{program} -D FORWARD {jump}"),
        Firewalld(_) => "firewall-cmd --zone=ocinet --remove-interface=ocinet+ --remove-interface=ocn-+".to_owned(),
    };
    host.sh(&shut)?;
    web.cannot_reach(Tcp, at(Family::V6.peer(), 7000))?;
    if !matches!(neighbour, Firewalld(_)) {
        host.peer().cannot_reach(Tcp, at(Family::V6.uplink(), 8080))?;
        passes(host, &web, Family::V4)?;
        let told = host.ocinet("doctor")?.exits(1)?.stdout;
        ensure!(told.contains(&program) && told.contains("containers forward"), "{told}");
    }
    host.ocinet("doctor --fix")?.success()?;
    both()?;
    ensure!(rules(neighbour, host)? == open, "{open}\nbecame\n{}", rules(neighbour, host)?);
    neighbour.reload(host)?;
    host.container("next").network("dual").run()?.delete()?;
    both()?;
    drop((web, sibling, plain));
    host.ocinet("reset")?.success()?;
    let after = rules(neighbour, host)?;
    ensure!(without_ours(&after) == without_ours(&before), "{before}\nbecame\n{after}");
    ensure!(matches!(neighbour, Firewalld(_)) || !after.contains("OCINET"), "{after}");
    Ok(())
}

/// Docker drops what is forwarded of IPv6 where it switched forwarding on for a network of its own.
const DROPPING: &str = "
    for chain in DOCKER-USER; do ip6tables-nft -N $chain 2>/dev/null || true; done
    ip6tables-nft -C FORWARD -j DOCKER-USER 2>/dev/null || ip6tables-nft -I FORWARD -j DOCKER-USER
    ip6tables-nft -P FORWARD DROP";

#[test]
fn containers_with_ipv6_are_let_through() -> Result<()> {
    let networks = define("dual", 7, "", Family::ALL) + &define("plain", 9, "", Family::FIRST);
    let all = [Ufw(Nft), Ufw(Legacy), Docker(Sid, Nft), Firewalld(Here)];
    every(all, |neighbour| {
        let more = if matches!(neighbour, Docker(..)) { DROPPING } else { "" };
        let host = Host::new(neighbour.host()?.prepare(more).prepare(CABLE).prepare(&networks))?;
        lets_through(*neighbour, &host)
    })
}
