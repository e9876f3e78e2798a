//! What is answered to a question, and what is asked of other servers for it. Pure.

use std::net::IpAddr;

use ocinet::driver::ZONE;
use ocinet::model::NetworkName;

use crate::directory::{Directory, Member};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address.
    Ptr,
    /// Anything else. Containers have none of it.
    Other,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These addresses, one at least.
    Addresses(Vec<IpAddr>),
    /// This name.
    Name(String),
    /// The name is there, and has none of what was asked for. Another answer would make musl give the whole name up.
    NoData,
    /// There is no such name. REFUSED or SERVFAIL would keep musl waiting for five seconds.
    NoName,
    /// Other servers say what there is: these, or the host's where there are none.
    Ask(Vec<IpAddr>),
    /// No answer: who asks is no container of ours, and does not learn that a server is here.
    Silence,
}

/// The answer to the question for `kind` of `name`, in small letters and without a dot at its end, that came from
/// `source`.
pub fn decide(directory: &Directory, source: IpAddr, name: &str, kind: Kind) -> Verdict {
    let Some(member) = directory.at(source) else { return Verdict::Silence };
    if let Some(address) = reverse(name) {
        return reverse_of(directory, member, address, kind).unwrap_or_else(|| elsewhere(directory, member));
    }
    if let Some(addresses) = addresses_of(directory, member, name) {
        return of_kind(addresses, kind);
    }
    // Search lists try names of one word, and a server outside would learn what is here. That of the root has none.
    if !name.is_empty() && !name.contains('.') || name == ZONE || within_zone(name).is_some() {
        return if name == ZONE { Verdict::NoData } else { Verdict::NoName };
    }
    elsewhere(directory, member)
}

/// The addresses that a container's `name` has for the host, on `network` or on all networks; none where there is no
/// such name.
pub fn everywhere(directory: &Directory, networks: &[NetworkName], name: &str) -> Option<Vec<IpAddr>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let names = [Some(name.as_str()), within_zone(&name)];
    names.into_iter().flatten().find_map(|name| on(directory, networks.iter(), name))
}

/// A container's whole name comes first, which may have dots, then `NAME.NETWORK`. In our zone no container takes the
/// place of another by a name that ends with the zone.
fn addresses_of(directory: &Directory, member: &Member, name: &str) -> Option<Vec<IpAddr>> {
    let find = |name: &str| on(directory, member.networks(), name);
    within_zone(name).and_then(find).or_else(|| find(name))
}

fn on<'n>(
    directory: &Directory,
    networks: impl Iterator<Item = &'n NetworkName> + Clone,
    name: &str,
) -> Option<Vec<IpAddr>> {
    let whole: Vec<Vec<IpAddr>> = networks.clone().filter_map(|network| directory.find(network, name)).collect();
    if !whole.is_empty() {
        return Some(whole.concat());
    }
    // The names of networks may have dots and capitals, too.
    networks.into_iter().find_map(|network| {
        let of_network = network.as_str().to_ascii_lowercase();
        let own = name.strip_suffix(&of_network)?.strip_suffix('.')?;
        directory.find(network, own)
    })
}

fn of_kind(addresses: Vec<IpAddr>, kind: Kind) -> Verdict {
    let fitting: Vec<IpAddr> = match kind {
        Kind::A => addresses.into_iter().filter(IpAddr::is_ipv4).collect(),
        Kind::Aaaa => addresses.into_iter().filter(IpAddr::is_ipv6).collect(),
        Kind::Ptr | Kind::Other => Vec::new(),
    };
    if fitting.is_empty() { Verdict::NoData } else { Verdict::Addresses(fitting) }
}

/// None where others are to be asked.
fn reverse_of(directory: &Directory, member: &Member, address: IpAddr, kind: Kind) -> Option<Verdict> {
    match directory.name_of(member, address) {
        Some((name, network)) if kind == Kind::Ptr => Some(Verdict::Name(format!("{name}.{network}.{ZONE}"))),
        Some(_) => Some(Verdict::NoData),
        // A server outside knows nothing of it, and would learn what is here.
        None => directory.is_ours(address).then_some(Verdict::NoName),
    }
}

/// A container that is shut in learns at once that there is nothing outside.
fn elsewhere(directory: &Directory, member: &Member) -> Verdict {
    let servers = directory.allowed_servers(member);
    if servers.is_empty() && directory.is_shut_in(member) { Verdict::NoName } else { Verdict::Ask(servers) }
}

fn within_zone(name: &str) -> Option<&str> {
    name.strip_suffix(ZONE)?.strip_suffix('.')
}

/// The address whose name is asked for by `name` (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.split('.').rev();
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| octets.into());
    }
    let mut nibbles = name.strip_suffix(".ip6.arpa")?.split('.').rev();
    let mut address = 0u128;
    for _ in 0..32 {
        let nibble = nibbles.next().filter(|nibble| nibble.len() == 1)?;
        address = address << 4 | u128::from(u8::from_str_radix(nibble, 16).ok()?);
    }
    nibbles.next().is_none().then(|| std::net::Ipv6Addr::from(address).into())
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use ocinet::model::{Network, Sandbox, Subnet};

    /// Containers as `NAME NETWORK=ADDRESS ...`, numbered from 1; networks whose names begin with `internal` are so.
    fn directory(containers: &[&str]) -> Directory {
        let mut directory = Directory::default();
        let networks = ["front 10.64.0.0/24", "back 10.64.1.0/24", "internal 10.64.2.0/24", "bridge 10.90.0.0/16"];
        let network = |text: &&str| {
            let (name, range) = text.split_once(' ').unwrap();
            let subnet = Subnet::with_first_gateway(range.parse().unwrap()).unwrap();
            let mut network = Network::of_bridge(name.parse().unwrap(), "ocn-1".parse().unwrap(), vec![subnet]);
            network.options.internal = name == "internal";
            network
        };
        directory.set_networks(networks.iter().map(network).collect());
        for (number, container) in (1..).zip(containers) {
            directory.put(number, Some(&sandbox(container)));
        }
        directory
    }

    fn sandbox(text: &str) -> Sandbox {
        let mut words = text.split(' ');
        let name = words.next().unwrap();
        let dns: Vec<&str> = text.split(' ').filter_map(|word| word.strip_prefix("dns=")).collect();
        let networks = words.filter(|word| !word.starts_with("dns="));
        let endpoint = |word: &str| {
            let (network, address) = word.split_once('=').unwrap();
            let (address, alias) = address.split_once('/').unwrap_or((address, ""));
            let names: Vec<&str> = alias.split('/').filter(|alias| !alias.is_empty()).collect();
            let addresses: Vec<String> = address.split(',').map(|one| format!("{one}/24")).collect();
            json!({"endpoint": 1, "network": network, "interface": "eth0", "state": "attached", "names": names,
                   "name_server": (network != "bridge").then_some("169.254.53.53"),
                   "mac": "02:00:00:00:00:01", "mtu": 1500, "addresses": addresses, "gateways": [],
                   "driver": "bridge", "host_interface": "ocv1", "bridge": "ocn-1"})
        };
        let sandbox = json!({
            "record": 1, "container": format!("{:0<16}", format!("{name}id")), "bundle": "/b", "name": name,
            "mode": "bridge", "state": "attached", "endpoints": networks.map(endpoint).collect::<Vec<_>>(),
            "publish": [], "resolver": {"dns": dns},
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
        });
        serde_json::from_value(sandbox).unwrap()
    }

    fn ask(directory: &Directory, source: &str, name: &str) -> String {
        ask_for(directory, source, name, Kind::A)
    }

    fn ask_for(directory: &Directory, source: &str, name: &str, kind: Kind) -> String {
        match decide(directory, source.parse().unwrap(), name, kind) {
            Verdict::Addresses(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Verdict::Name(name) => name,
            Verdict::Ask(servers) => format!("ask {servers:?}"),
            other => format!("{other:?}"),
        }
    }

    /// Containers on networks of several kinds.
    pub fn world() -> Directory {
        directory(&[
            "web front=10.64.0.2/shop/www back=10.64.1.2",
            "db back=10.64.1.3/shop",
            "db.ocinet.internal front=10.64.0.7",
            "Cache.one front=10.64.0.4",
            "front front=10.64.0.5",
            "alone bridge=10.90.0.2",
            "locked internal=10.64.2.2",
            "six front=10.64.0.6,fd00::6",
        ])
    }

    #[test]
    fn names_are_found_on_ones_own_networks() {
        let world = world();
        for (source, name, expected) in [
            ("10.64.0.2", "web", "10.64.0.2 10.64.1.2"),
            ("10.64.0.4", "web", "10.64.0.2"),
            ("10.64.1.3", "web", "10.64.1.2"),
            ("10.64.0.2", "web.back", "10.64.1.2"),
            ("10.64.0.2", "web.ocinet.internal", "10.64.0.2 10.64.1.2"),
            ("10.64.0.2", "web.back.ocinet.internal", "10.64.1.2"),
            ("10.64.0.2", "db.ocinet.internal", "10.64.1.3"),
            ("10.64.0.4", "db.ocinet.internal", "10.64.0.7"),
            ("10.64.0.2", "shop", "10.64.0.2 10.64.1.3"),
            ("10.64.0.2", "www", "10.64.0.2"),
            ("10.64.0.2", "webid0000000", "10.64.0.2 10.64.1.2"),
            ("10.64.0.2", "webid00000000000", "10.64.0.2 10.64.1.2"),
            ("10.64.0.2", "cache.one", "10.64.0.4"),
            ("10.64.0.2", "cache.one.front.ocinet.internal", "10.64.0.4"),
            ("10.64.0.2", "front", "10.64.0.5"),
            ("10.64.1.3", "www", "NoName"),
            ("10.64.0.4", "db", "NoName"),
            ("10.64.0.4", "web.back", "ask []"),
            ("10.64.0.4", "web.back.ocinet.internal", "NoName"),
            ("10.64.2.2", "web", "NoName"),
            ("10.64.0.2", "alone", "NoName"),
        ] {
            assert_eq!(ask(&world, source, name), expected, "{name} from {source}");
        }
    }

    #[test]
    fn strangers_get_no_answer() {
        for source in ["10.64.0.9", "10.90.0.2", "127.0.0.1", "192.0.2.1", "169.254.53.53"] {
            assert_eq!(ask(&world(), source, "web"), "Silence", "{source}");
        }
    }

    #[test]
    fn a_name_that_is_there_has_no_data_of_other_kinds() {
        let world = world();
        for (name, kind, expected) in [
            ("web", Kind::Aaaa, "NoData"),
            ("web", Kind::Other, "NoData"),
            ("web", Kind::Ptr, "NoData"),
            ("six", Kind::Aaaa, "fd00::6"),
            ("six", Kind::A, "10.64.0.6"),
            ("nobody", Kind::Aaaa, "NoName"),
            ("nobody", Kind::Other, "NoName"),
            ("ocinet.internal", Kind::Other, "NoData"),
        ] {
            assert_eq!(ask_for(&world, "10.64.0.2", name, kind), expected, "{name} {kind:?}");
        }
    }

    #[test]
    fn the_root_is_asked_of_others() {
        let world = world();
        assert_eq!(ask_for(&world, "10.64.0.2", "", Kind::Other), "ask []");
        assert_eq!(ask_for(&world, "10.64.2.2", "", Kind::Other), "NoName", "shut in");
    }

    #[test]
    fn addresses_have_the_names_of_ones_own_networks() {
        let world = world();
        let six = "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        for (source, name, expected) in [
            ("10.64.0.2", "3.1.64.10.in-addr.arpa", "db.back.ocinet.internal"),
            ("10.64.0.4", "2.0.64.10.in-addr.arpa", "web.front.ocinet.internal"),
            ("10.64.0.4", six, "six.front.ocinet.internal"),
            ("10.64.0.4", "99.0.64.10.in-addr.arpa", "NoName"),
            ("10.64.0.4", "3.1.64.10.in-addr.arpa", "NoName"),
            ("10.64.0.4", "53.53.254.169.in-addr.arpa", "NoName"),
            ("10.64.0.4", "1.2.0.192.in-addr.arpa", "ask []"),
            ("10.64.2.2", "1.2.0.192.in-addr.arpa", "NoName"),
        ] {
            assert_eq!(ask_for(&world, source, name, Kind::Ptr), expected, "{name} from {source}");
        }
        assert_eq!(ask_for(&world, "10.64.0.4", "2.0.64.10.in-addr.arpa", Kind::A), "NoData");
        assert_eq!(reverse("1.2.3.in-addr.arpa"), None);
        assert_eq!(reverse("1.2.3.4.5.in-addr.arpa"), None);
        assert_eq!(reverse("256.2.3.4.in-addr.arpa"), None);
    }

    /// What is asked of others is asked from the host, to which more is open than to a container.
    #[test]
    fn servers_that_a_container_could_not_ask_itself_are_not_asked_for_it() {
        for (container, expected) in [
            ("a front=10.64.0.2", "ask []"),
            ("a front=10.64.0.2 dns=192.0.2.53", "ask [192.0.2.53]"),
            ("a front=10.64.0.2 dns=127.0.0.53 dns=192.0.2.53", "ask [192.0.2.53]"),
            ("a front=10.64.0.2 dns=127.0.0.53", "ask []"),
            ("a front=10.64.0.2 dns=::1 dns=::ffff:127.0.0.1", "ask []"),
            ("a front=10.64.0.2 dns=0.0.0.0 dns=224.0.0.251 dns=255.255.255.255", "ask []"),
            ("a front=10.64.0.2 dns=169.254.53.53 dns=169.254.169.254", "ask []"),
            ("a front=10.64.0.2 dns=10.64.0.9 dns=10.64.1.9 dns=10.90.0.1", "ask [10.64.0.9]"),
            ("a internal=10.64.2.2 dns=192.0.2.53", "NoName"),
            ("a internal=10.64.2.2 dns=10.64.2.9 dns=192.0.2.53", "ask [10.64.2.9]"),
            ("a internal=10.64.2.2 front=10.64.0.2", "ask []"),
        ] {
            let source = container.split(['=', ' ']).nth(2).unwrap();
            assert_eq!(ask(&directory(&[container]), source, "example.com"), expected, "{container}");
        }
    }

    /// A container that shares the network of another is found at the addresses of that one, but not where that one was
    /// started again since.
    #[test]
    fn who_shares_a_network_is_found_by_its_own_names() {
        let mut world = world();
        let sharer = |owner: &str, cookie: u64| {
            let sharer = json!({
                "container": "5idecar000000000", "name": "Side", "bundle": "/s", "owner": format!("{:0<16}", format!("{owner}id")),
                "owner_name": owner, "owner_bundle": "/b", "since": 0,
                "namespace": {"cookie": cookie, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            });
            serde_json::from_value(sharer).unwrap()
        };
        let mut now = |sharers: Vec<_>| {
            let changed = world.set_sharers(sharers);
            for number in &changed {
                let container = ["", "web front=10.64.0.2/shop/www back=10.64.1.2", "db back=10.64.1.3/shop"];
                world.put(*number, Some(&sandbox(container[usize::try_from(*number).unwrap()])));
            }
            let asked = ["side", "side.front", "5idecar00000", "web"].map(|name| ask(&world, "10.64.0.2", name));
            (changed, asked.join(", "))
        };
        let none = "NoName, ask [], NoName, 10.64.0.2 10.64.1.2";
        let both = "10.64.0.2 10.64.1.2, 10.64.0.2, 10.64.0.2 10.64.1.2, 10.64.0.2 10.64.1.2";
        assert_eq!(now(vec![]), (vec![], none.into()));
        assert_eq!(now(vec![sharer("web", 1)]), (vec![1], both.into()));
        assert_eq!(now(vec![sharer("web", 1)]), (vec![], both.into()));
        assert_eq!(now(vec![sharer("web", 2)]), (vec![1], none.into()), "of an earlier start");
        assert_eq!(now(vec![sharer("db", 1)]).0, [1, 2], "of both that it left and joined");
        assert_eq!(now(vec![]).1, none);
    }

    #[test]
    fn what_leaves_and_comes_is_followed() {
        let mut world = world();
        world.put(1, None);
        assert_eq!(ask(&world, "10.64.1.3", "web"), "NoName");
        assert_eq!(ask(&world, "10.64.0.2", "web"), "Silence");
        assert_eq!(ask(&world, "10.64.1.3", "shop"), "10.64.1.3");
        // Its address goes to another before it is forgotten.
        world.put(9, Some(&sandbox("new front=10.64.0.4")));
        world.put(3, None);
        assert_eq!(ask(&world, "10.64.0.4", "new"), "10.64.0.4");
        world.put(9, Some(&sandbox("new back=10.64.1.4")));
        assert_eq!(ask(&world, "10.64.0.5", "new"), "NoName");
        assert_eq!(ask(&world, "10.64.1.3", "new"), "10.64.1.4");
        world.clear();
        assert!(world.is_empty() && !directory(&["a front=10.64.0.2"]).is_empty());
        assert!(directory(&["a bridge=10.90.0.2"]).is_empty());
    }
}
