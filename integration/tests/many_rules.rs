//! Thousands of published ports, of which each is a rule with iptables. A program has 15 seconds to load them. It needs
//! about that long while seven other stories share two processors with it, so this is a binary of its own whose stories
//! run one after the other.

use std::sync::Mutex;

use anyhow::Result;
use ocinet_integration::{ASKING, Firewall, Host, Proto::Tcp, Settings, UPLINK};

static ALONE: Mutex<()> = Mutex::new(());

/// The greatest range that one entry of a list may name.
const MANY: &str = "10000-14095:10000-14095";

/// More than ten thousand ports in five entries.
const TWENTY_THOUSAND: &str = "10000-14095:10000-14095,14096-18191:14096-18191,18192-22287:18192-22287,\
    22288-26383:22288-26383,26384-29999:26384-29999";

/// A container may publish them, the first and the last can be reached, and all are removed with it. A container name
/// of the greatest length, and the setting that the host's rules decide, make each of them longer to load.
#[test]
fn thousands_of_ports_come_and_go() -> Result<()> {
    let _alone = ALONE.lock();
    let long = "x".repeat(200);
    let come_and_go = |host: &Host, id: &str, publish: &str, last: u16| -> Result<()> {
        let web = host.container(id).publish(publish).serving(&["10000", &last.to_string()]).run()?;
        for port in [10_000, last] {
            host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is(id)?;
        }
        web.delete()?;
        host.settles()?;
        host.check()
    };
    for (settings, id, publish, last) in [
        (Settings::default(), "web", TWENTY_THOUSAND, 29_999),
        (Settings::default().prepare(ASKING), &long, MANY, 14_095),
        (Settings::default().firewall(Firewall::IptablesNft), &long, TWENTY_THOUSAND, 29_999),
        (Settings::default().firewall(Firewall::IptablesNft).prepare(ASKING), &long, MANY, 14_095),
        (Settings::default().firewall(Firewall::IptablesLegacy), &long, MANY, 14_095),
    ] {
        settings.test(|host| come_and_go(host, id, publish, last))?;
    }
    Ok(())
}

/// With iptables the ports of all containers are rules of the same chains. Neither reading them nor deleting the last
/// of them may go through the chain once per port.
#[test]
fn thousands_of_ports_stand_behind_others_with_iptables() -> Result<()> {
    let _alone = ALONE.lock();
    for firewall in [Firewall::IptablesNft, Firewall::IptablesLegacy] {
        Settings::default().firewall(firewall).test(|host| {
            let web = host.container("web").publish(MANY).serving(&["10000", "14095"]).run()?;
            let (next, dead) = ("20000-24095:20000-24095", "30000-34095:30000-34095");
            let next = host.container("next").publish(next).run()?;
            host.ocinet("doctor")?.success()?;
            next.delete()?;
            host.container("dead").publish(dead).run()?.abandon()?;
            host.ocinet("gc")?.success()?;
            host.settled_sandboxes()?;
            host.check()?;
            for port in [10_000, 14_095] {
                host.peer().reaches(Tcp, format!("{UPLINK}:{port}"))?.is("web")?;
            }
            web.delete()?;
            host.settles()
        })?;
    }
    Ok(())
}
