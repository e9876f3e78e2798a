//! The contents of the files we make for a container. Pure.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::decide::identity::{HostTarget, Identity, LOCALHOST};
use crate::decide::names::name_server;
use crate::driver::ZONE;
use crate::input::Bundle;
use crate::model::{HostName, Mode, ResolverChoice, Sandbox};

/// A file made for a container and mounted over its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// `/etc/resolv.conf`.
    ResolvConf,
    /// `/etc/hosts`.
    Hosts,
    /// `/etc/hostname`.
    HostName,
}

impl File {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ResolvConf, Self::Hosts, Self::HostName];

    /// Where a container has it.
    pub fn place(self) -> String {
        format!("/etc/{}", self.name())
    }

    /// Its name, in `/etc` and among our files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ResolvConf => "resolv.conf",
            Self::Hosts => "hosts",
            Self::HostName => "hostname",
        }
    }
}

/// What directories have in their names whose files were made for a spec to mount, before there was a container.
pub const MADE_FOR_SPEC: &str = "-spec-";

/// The directory of the files that were made for this spec, if it mounts one of them.
pub fn made_for(bundle: &Bundle) -> Option<PathBuf> {
    File::ALL.into_iter().find_map(|file| {
        let directory = bundle.mount_source(&file.place())?.parent()?;
        let is_made = directory.file_name()?.to_str()?.contains(MADE_FOR_SPEC);
        is_made.then(|| directory.to_path_buf())
    })
}

/// The files of which the spec mounts none of its own.
pub fn left_to_us(bundle: &Bundle) -> Vec<File> {
    let made = made_for(bundle);
    let is_made = |file: &File| {
        let directory = bundle.mount_source(&file.place()).and_then(Path::parent);
        directory.is_some() && directory == made.as_deref()
    };
    File::ALL.into_iter().filter(|file| !bundle.mounts(&file.place()) || is_made(file)).collect()
}

/// Which name servers of the host a container may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of them: it shares the host's network.
    Host,
    /// The name server of ocinet alone, at this address, which asks the others for it.
    Names(IpAddr),
    /// Those that are not the host's alone: it has a network of its own.
    Own {
        /// Whether that has IPv6.
        ipv6: bool,
    },
}

impl Reach {
    /// What the container of `sandbox` reaches.
    pub fn of(sandbox: &Sandbox) -> Self {
        match sandbox.mode {
            Mode::Host => Self::Host,
            // ocinet does not wire it; another program may have, with either family.
            Mode::None => Self::Own { ipv6: true },
            Mode::Networks => {
                if let Some(server) = name_server(sandbox) {
                    return Self::Names(server);
                }
                let mut addresses = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
                Self::Own { ipv6: addresses.any(|net| net.addr().is_ipv6()) }
            }
        }
    }

    /// The name server of ocinet, where that is the one to be asked.
    pub fn names_server(self) -> Option<IpAddr> {
        if let Self::Names(server) = self { Some(server) } else { None }
    }

    /// Whether `server`, as a resolv.conf names it, is in reach.
    fn includes(self, server: &str) -> bool {
        let Self::Own { ipv6 } = self else { return self == Self::Host };
        // A scope names an interface of the host, as in fe80::1%eth0.
        let (address, scope) = server.split_once('%').map_or((server, None), |(address, scope)| (address, Some(scope)));
        match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
            // The C library takes the unspecified address for the loopback.
            Ok(address) if address.is_loopback() || address.is_unspecified() => false,
            Ok(IpAddr::V6(address)) => ipv6 && scope.is_none() && !address.is_unicast_link_local(),
            _ => true,
        }
    }
}

/// What a resolv.conf(5) says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The name servers, in order.
    pub nameservers: Vec<String>,
    /// The search domains.
    pub search: Vec<String>,
    /// The options.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a resolv.conf as the C library does: a later `search` or `domain` replaces an earlier one, options add up.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().map(String::from);
            match words.next().as_deref() {
                Some("nameserver") => resolver.nameservers.extend(words.next()),
                Some("search" | "domain") => resolver.search = words.collect(),
                Some("options") => resolver.options.extend(words),
                _ => {}
            }
        }
        resolver
    }

    /// Whether a container has a name server here that it reaches.
    pub fn is_of_use(&self, reach: Reach) -> bool {
        self.nameservers.iter().any(|server| reach.includes(server))
    }

    /// What a container gets: the host's settings without servers it cannot reach, unless it chose otherwise. The C
    /// library asks the first three alone (MAXNS, resolv.conf(5)), so one out of reach would take the place of another.
    pub fn for_container(&self, choice: &ResolverChoice, fallback: &[IpAddr], reach: Reach) -> Self {
        let mut nameservers: Vec<String> = match choice.dns.as_slice() {
            _ if reach.names_server().is_some() => reach.names_server().iter().map(ToString::to_string).collect(),
            [] => self.nameservers.iter().filter(|server| reach.includes(server)).cloned().collect(),
            wanted => wanted.iter().map(ToString::to_string).collect(),
        };
        if nameservers.is_empty() {
            nameservers = fallback.iter().map(ToString::to_string).collect();
        }
        let or_hosts =
            |wanted: &[String], hosts: &[String]| if wanted.is_empty() { hosts.to_vec() } else { wanted.to_vec() };
        let mut search = or_hosts(&choice.search, &self.search);
        if search.iter().any(|domain| domain == ".") {
            search.clear();
        }
        if reach.names_server().is_some() {
            search.insert(0, ZONE.into());
        }
        Self { nameservers, search, options: or_hosts(&choice.options, &self.options) }
    }

    /// The text of a resolv.conf.
    pub fn text(&self) -> String {
        let mut text: String = self.nameservers.iter().map(|server| format!("nameserver {server}\n")).collect();
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                let _ = writeln!(text, "{word} {}", values.join(" "));
            }
        }
        text
    }
}

/// `/etc/hosts` of a container at `addresses`, whose host answers at `gateway`.
pub fn hosts(identity: &Identity, hostname: &HostName, addresses: &[IpAddr], gateway: Option<IpAddr>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let name = HostName::resembling(identity.name.as_str());
    let names = if name == *hostname { hostname.to_string() } else { format!("{hostname} {name}") };
    let own = if addresses.is_empty() { &[LOCALHOST] } else { addresses };
    for address in own {
        let _ = writeln!(text, "{address}\t{names}");
    }
    for (name, target) in &identity.hosts {
        let address = match target {
            HostTarget::Address(address) => *address,
            HostTarget::Gateway => gateway.unwrap_or(LOCALHOST),
        };
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// The same file, made by [`hosts`], where the container's addresses and the gateway have changed from the first to the
/// second of each pair; the gateway was one of several. Other lines stay.
pub fn hosts_moved(text: &str, addresses: [&[IpAddr]; 2], gateways: (&[IpAddr], Option<IpAddr>)) -> String {
    let [before, after] = addresses.map(|all| if all.is_empty() { vec![LOCALHOST] } else { all.to_vec() });
    let (gateways, next) = (gateways.0, gateways.1.unwrap_or(LOCALHOST));
    let (mut moved, mut own) = (String::new(), None);
    for line in text.lines() {
        let (address, names) = line.split_once('\t').unwrap_or((line, ""));
        let is = |other: &IpAddr| address.parse().is_ok_and(|address: IpAddr| address == *other);
        let is_localhost = names.split(' ').next() == Some("localhost");
        // The container's own names come first; a name for the host may have the same address.
        if !is_localhost && before.iter().any(is) && own.is_none_or(|own| own == names) {
            if own.replace(names).is_none() {
                after.iter().for_each(|address| {
                    let _ = writeln!(moved, "{address}\t{names}");
                });
            }
        } else if !is_localhost && own.is_some() && gateways.iter().any(is) {
            let _ = writeln!(moved, "{next}\t{names}");
        } else {
            let _ = writeln!(moved, "{line}");
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::identity::HostNameSource;

    fn identity() -> Identity {
        Identity {
            name: "web".parse().unwrap(),
            hostname: HostNameSource::Ours("www".parse().unwrap()),
            resolver: ResolverChoice::default(),
            hosts: vec![("host".parse().unwrap(), HostTarget::Gateway)],
        }
    }

    const V4: Reach = Reach::Own { ipv6: false };

    #[test]
    fn servers_out_of_reach_are_left_out() {
        let host =
            "127.0.0.53 0.0.0.0 ::1 :: ::ffff:127.0.0.1 fe80::1%eth0 fe80::1 2001:db8::53 fd00::53%br0 192.0.2.1";
        let host = Resolver { nameservers: host.split(' ').map(String::from).collect(), ..Resolver::default() };
        let of = |reach| host.for_container(&ResolverChoice::default(), &[], reach).nameservers.join(" ");
        assert_eq!(of(V4), "192.0.2.1");
        assert_eq!(of(Reach::Own { ipv6: true }), "2001:db8::53 192.0.2.1");
        assert_eq!(of(Reach::Host), host.nameservers.join(" "));
        let wanted = ResolverChoice { dns: vec!["2001:db8::9".parse().unwrap()], ..ResolverChoice::default() };
        assert_eq!(host.for_container(&wanted, &[], V4).nameservers, ["2001:db8::9"], "as asked for");
    }

    /// The name server of ocinet is the only one, since musl asks all and takes the first answer.
    #[test]
    fn a_container_with_names_asks_ocinet_alone() {
        let host = Resolver::parse("nameserver 192.0.2.1\nsearch lan.example\noptions ndots:2\n");
        let of = |choice: &ResolverChoice| {
            host.for_container(choice, &[], Reach::Names("169.254.53.53".parse().unwrap())).text()
        };
        assert_eq!(
            of(&ResolverChoice::default()),
            "nameserver 169.254.53.53\nsearch ocinet.internal lan.example\noptions ndots:2\n"
        );
        let wanted =
            ResolverChoice { dns: vec!["192.0.2.9".parse().unwrap()], search: vec![".".into()], options: vec![] };
        assert_eq!(of(&wanted), "nameserver 169.254.53.53\nsearch ocinet.internal\noptions ndots:2\n");
    }

    /// From any addresses to any others and back, the file is as it would be at an attach.
    #[test]
    fn hosts_follow_the_networks() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut identity = identity();
        identity.hosts.push(("db".parse().unwrap(), HostTarget::Address(ip("192.0.2.9"))));
        let states: [(Vec<IpAddr>, Option<IpAddr>); 4] = [
            (vec![ip("10.90.0.2")], Some(ip("10.90.0.1"))),
            (vec![ip("10.64.0.2"), ip("10.90.0.2")], Some(ip("10.64.0.1"))),
            (vec![ip("10.64.1.2")], None),
            (vec![], None),
        ];
        let hostname = "www".parse().unwrap();
        let made =
            |(addresses, gateway): &(Vec<IpAddr>, Option<IpAddr>)| hosts(&identity, &hostname, addresses, *gateway);
        for from in &states {
            for to in &states {
                let before = [from.1.unwrap_or(LOCALHOST)];
                let moved = hosts_moved(&made(from), [&from.0, &to.0], (&before, to.1));
                assert_eq!(moved, made(to), "{from:?} to {to:?}");
                // The default route had moved already, and the file had not.
                let known = [to.1.unwrap_or(LOCALHOST), ip("10.90.0.1"), ip("10.64.0.1")];
                let moved = hosts_moved(&made(from), [&from.0, &to.0], (&known, to.1));
                assert!(from.1.is_none() || moved == made(to), "{from:?} to {to:?}, later");
            }
        }
    }

    #[test]
    fn loopback_servers_are_left_out() {
        let host =
            Resolver::parse("# made by\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a b\noptions ndots:2\n");
        let text = host.for_container(&ResolverChoice::default(), &[], V4).text();
        assert_eq!(text, "nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n");
        assert!(host.for_container(&ResolverChoice::default(), &[], Reach::Host).text().contains("127.0.0.53"));
        let stub = Resolver::parse("nameserver 127.0.0.53\nnameserver ::1\n");
        assert!(!stub.is_of_use(V4) && stub.is_of_use(Reach::Host));
        assert_eq!(
            stub.for_container(&ResolverChoice::default(), &["192.0.2.7".parse().unwrap()], V4).nameservers,
            ["192.0.2.7"]
        );
    }

    #[test]
    fn annotations_replace_the_hosts_settings() {
        let host = Resolver::parse("nameserver 192.0.2.1\ndomain a\n");
        let wanted = ResolverChoice {
            dns: vec!["192.0.2.9".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["edns0".into()],
        };
        assert_eq!(host.for_container(&wanted, &[], V4).text(), "nameserver 192.0.2.9\noptions edns0\n");
    }

    #[test]
    fn what_was_made_for_a_spec_is_ours() {
        let bundle = |mounts: &str| {
            let json = format!(r#"{{"root":{{"path":"r"}},"mounts":[{mounts}]}}"#);
            Bundle::parse(json.as_bytes(), "/b").unwrap()
        };
        let mount = |name: &str, source: &str| format!(r#"{{"destination":"/etc/{name}","source":"{source}"}}"#);
        let made = |name: &str| mount(name, &format!("/run/ocinet/containers/b00-1f-spec-00ff/{name}"));
        let directory = Some(PathBuf::from("/run/ocinet/containers/b00-1f-spec-00ff"));
        let all = bundle(&[made("hosts"), made("hostname"), made("resolv.conf")].join(","));
        assert_eq!((made_for(&all), left_to_us(&all)), (directory.clone(), File::ALL.to_vec()));
        let theirs = bundle(&[mount("hosts", "/srv/hosts"), made("hostname"), made("resolv.conf")].join(","));
        assert_eq!((made_for(&theirs), left_to_us(&theirs)), (directory, vec![File::ResolvConf, File::HostName]));
        let none = bundle(r#"{"destination":"/etc/hosts","type":"tmpfs"}"#);
        assert_eq!((made_for(&none), left_to_us(&none)), (None, vec![File::ResolvConf, File::HostName]));
    }

    #[test]
    fn hosts_name_the_container_and_its_host() {
        let address = "10.90.0.2".parse().unwrap();
        let text = hosts(&identity(), &"www".parse().unwrap(), &[address], Some("10.90.0.1".parse().unwrap()));
        assert!(text.ends_with("10.90.0.2\twww web\n10.90.0.1\thost\n"), "{text}");
        assert!(hosts(&identity(), &"web".parse().unwrap(), &[], None).contains("127.0.0.1\tweb\n"));
    }
}
