//! Which MAC the containers of a network remember for an address of IPv6.

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Firewall, Proto::Tcp, eventually};

use super::{define, settings};

/// What `container` remembers for `address`: the MAC, where there is one.
fn known(container: &Container<'_>, address: &str) -> Result<Option<String>> {
    let entries: Vec<serde_json::Value> = container.json(&format!("ip -json neighbour show {address}"))?;
    Ok(entries.first().and_then(|entry| entry["lladdr"].as_str()).map(str::to_owned))
}

/// A container gets an address of IPv6 that another had with another MAC, and their sibling remembers that: the next
/// packet reaches it all the same.
#[test]
fn a_reused_address_is_reached_at_once() -> Result<()> {
    for bridge_nf in [true, false] {
        settings().bridge_nf(bridge_nf).test(|host| {
            let sibling = host.container("sibling").network("dual").run()?;
            let mut macs = Vec::new();
            for name in ["one", "two", "three"] {
                let web = host.container(name).network("dual:ip6=fd00:7::beef").run()?;
                let mac = web.sandbox()?.endpoints[0].mac.clone();
                if !macs.is_empty() {
                    eventually("the new MAC is known", || Ok(known(&sibling, "fd00:7::beef")?.as_ref() == Some(&mac)))?;
                }
                let begun = std::time::Instant::now();
                sibling.reaches(Tcp, "[fd00:7::beef]:80")?.is(name)?;
                ensure!(begun.elapsed().as_millis() < 900, "a packet was lost: {:?}", begun.elapsed());
                ensure!(!macs.contains(&mac), "it is to be another: {mac}");
                macs.push(mac);
                web.delete()?;
            }
            sibling.delete()
        })?;
    }
    Ok(())
}

/// In a range without room for addresses of IPv4, each family goes round by itself: what was just given back is the last
/// to be given out again.
#[test]
fn a_narrow_range_goes_round() -> Result<()> {
    let narrow = define("narrow", 6, "[[subnet]]\nrange = \"10.64.6.0/24\"").replace("fd00:6::/64", "fd00:6::/125");
    settings().firewall(Firewall::Nftables).prepare(&narrow).test(|host| {
        let mut seen = Vec::new();
        for name in ["one", "two", "three"] {
            let web = host.container(name).network("narrow").run()?;
            let [v4, v6] = &web.sandbox()?.endpoints[0].addresses[..] else { anyhow::bail!("two addresses") };
            seen.push(format!("{v4} {v6}"));
            web.delete()?;
            host.settles()?;
        }
        let expected = [2, 3, 4].map(|n| format!("10.64.6.{n}/24 fd00:6::{n}/125"));
        ensure!(seen == expected, "{seen:?}");
        Ok(())
    })
}
