//! Neighbour entries: a container and the host know each other without asking, and no sibling changes that.

use anyhow::{Context, Result, ensure};
use ocinet_integration::{Container, Host, PEER, Place, Proto, Proto::Tcp, Settings, UPLINK, eventually};
use serde_json::Value;

const GATEWAY: &str = "10.90.0.1";

/// The state and the MAC of the entry for an address in the neighbour table of `place`.
fn entry(place: &Place, address: &str) -> Result<Option<(String, String)>> {
    let entries: Vec<Value> = place.json(&format!("ip -json neighbour show {address}"))?;
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(entries.first().map(|entry| (word(&entry["state"][0]), word(&entry["lladdr"]))))
}

fn permanent(mac: &str) -> Option<(String, String)> {
    Some(("PERMANENT".into(), mac.into()))
}

/// Counts the ARP packets that the host sends and receives on the bridge.
struct Arp<'h>(&'h Host);

impl<'h> Arp<'h> {
    fn watch(host: &'h Host) -> Result<Self> {
        host.sh("nft -f - <<RULES
            table arp watch {
                counter seen { }
                chain in { type filter hook input priority filter; iifname ocinet0 counter name seen; }
                chain out { type filter hook output priority filter; oifname ocinet0 counter name seen; }
            }
RULES")?;
        Ok(Self(host))
    }

    /// How many there were since the last call.
    fn count(&self) -> Result<u64> {
        let told = self.0.sh("nft reset counter arp watch seen")?;
        let count = told.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
        Ok(count.context("a number of packets")?.parse()?)
    }

    fn end(self) -> Result<()> {
        self.0.sh("nft delete table arp watch").map(drop)
    }
}

fn address(container: &Container<'_>) -> Result<(String, String)> {
    let sandbox = container.sandbox()?;
    Ok((sandbox.address().context("an address")?.to_string(), sandbox.endpoints[0].mac.clone()))
}

/// The first packets in every direction, from the attach on: no ARP is sent for any of them. Once the container has
/// deleted its entry, it asks, and reaches the outside all the same.
#[test]
fn the_first_packet_needs_no_arp() -> Result<()> {
    Settings::default().test(|host| {
        let secret = host.peer().serve("outside", &["9000"])?;
        let arp = Arp::watch(host)?;
        for name in ["one", "two"] {
            let web = host.container(name).publish("8080:80,8080:80/udp").run()?;
            let (address, mac) = address(&web)?;
            web.reaches(Tcp, format!("{PEER}:9000"))?.is("outside")?;
            for proto in Proto::ALL {
                host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is(name)?;
                host.reaches(proto, web.at(80)?)?.is(name)?;
            }
            ensure!(arp.count()? == 0, "ARP was sent");
            ensure!(entry(host.place(), &address)? == permanent(&mac), "{:?}", entry(host.place(), &address)?);
            let bridge = host.sh("cat /sys/class/net/ocinet0/address")?;
            ensure!(entry(&web, GATEWAY)? == permanent(bridge.trim()), "{:?}", entry(&web, GATEWAY)?);
            let link = web.host_interface()?;
            let of_bridge = host.sh(&format!("bridge fdb show br ocinet0 | grep {mac}"))?;
            let words: Vec<&str> = of_bridge.split_whitespace().collect();
            ensure!(
                words.contains(&link.as_str()) && words.contains(&"static") && words.contains(&"sticky"),
                "{of_bridge}"
            );
            web.sh(&format!("ip neigh del {GATEWAY} dev eth0"))?;
            web.reaches(Tcp, format!("{PEER}:9000"))?.is("outside")?;
            ensure!(arp.count()? >= 2, "a question and its answer are counted");
            web.delete()?;
            host.settles()?;
            ensure!(entry(host.place(), &address)?.is_none(), "{:?}", entry(host.place(), &address)?);
        }
        drop(secret);
        arp.end()
    })
}

/// A sibling claims another container's address, from a link without a guard. The host's entry stays; one that is not
/// permanent is replaced.
#[test]
fn a_sibling_does_not_replace_the_hosts_entry() -> Result<()> {
    Settings::default().test(|host| {
        let victim = host.container("victim").publish("8080:80").run()?;
        let attacker = host.container("attacker").run()?;
        let ((address, mac), (_, forged)) = (address(&victim)?, address(&attacker)?);
        let link = attacker.host_interface()?;
        host.sh(&format!("tc qdisc del dev {link} clsact"))?;
        attacker.sh(&format!("ip address add {address}/32 dev eth0"))?;
        // Its question for the gateway's MAC has the victim's address as its sender.
        let ask = format!("ip neigh del {GATEWAY} dev eth0 || true; ping -c 1 -W 1 -I {address} {GATEWAY} || true");
        let claim = || attacker.sh(&ask);
        let seen = || entry(host.place(), &address);
        claim()?;
        ensure!(seen()? == permanent(&mac), "{:?}", seen()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("victim")?;

        host.sh(&format!("ip neigh replace {address} lladdr {mac} nud stale dev ocinet0"))?;
        claim()?;
        eventually("the entry is replaced", || Ok(seen()?.is_some_and(|(_, mac)| mac == forged)))?;
        attacker.sh(&format!("ip address del {address}/32 dev eth0"))?;
        let mended = host.ocinet("doctor --fix")?.success()?;
        ensure!(mended.contains("container victim"), "{mended}");
        ensure!(seen()? == permanent(&mac), "{:?}", seen()?);
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("victim").map(drop)
    })
}

/// The same address with another MAC, and a container that was killed with its namespace and its store.
#[test]
fn an_entry_is_replaced_and_goes_with_its_container() -> Result<()> {
    Settings::default().test(|host| {
        for mac in ["02:00:00:00:00:aa", "02:00:00:00:00:bb"] {
            let web = host.container("web").network(&format!("bridge:ip=10.90.0.9,mac={mac}")).run()?;
            ensure!(entry(host.place(), "10.90.0.9")? == permanent(mac), "{:?}", entry(host.place(), "10.90.0.9")?);
            host.reaches(Tcp, "10.90.0.9:80")?.is("web")?;
            web.delete()?;
        }
        let mut lost = host.container("lost").run()?;
        let (address, _) = address(&lost)?;
        lost.kill()?;
        eventually("its link is gone", || Ok(host.sh("ls -d /sys/class/net/ocv* 2>/dev/null || true")?.is_empty()))?;
        host.sh("rm /run/ocinet/store-*")?;
        let _next = host.container("next").run()?;
        ensure!(entry(host.place(), &address)?.is_none_or(|(_, mac)| mac.ends_with("00:02")), "left");
        lost.delete()
    })
}
