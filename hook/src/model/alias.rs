use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{Endpoint, Invalid, Key, NetworkName};

/// What a link of ours carries as its alias (`IFLA_IFALIAS`, shown by `ip link`), so that the kernel alone is enough to
/// find what is ours and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alias {
    /// The bridge of a network.
    Network(NetworkName),
    /// An end of the input loop: packets for a published port come by it once the host's own rules have let them in.
    InputLoop,
    /// The name server's port on the bridge of a network.
    Names(NetworkName),
    /// The host's end of an endpoint.
    Endpoint {
        /// The key of the sandbox it belongs to.
        key: Key,
        /// Its IPv6 address, where it has one: the name of a link has room for one of IPv4.
        ipv6: Option<Ipv6Addr>,
        /// The container's id, for people; cut off where the alias would be too long.
        container: String,
    },
    /// The same once its sandbox has ended: it was shut to be deleted.
    Draining {
        /// The key of the sandbox it belonged to.
        key: Key,
        /// Its IPv6 address, likewise.
        ipv6: Option<Ipv6Addr>,
        /// The container's id, likewise.
        container: String,
    },
}

impl Alias {
    /// What every alias of ours begins with.
    const PREFIX: &str = "ocinet:";
    /// The kernel takes less than `IFALIASZ`, 256 bytes, of which one is the NUL that netlink ends strings with
    /// (`dev_set_alias`, net/core/dev.c).
    const MAX: usize = 254;

    /// What tells the alias of a link that drains.
    const DRAINING: &str = "draining:";

    /// The alias of the link of `endpoint`, which belongs to the container `container` with `key`.
    pub fn endpoint(key: Key, endpoint: &Endpoint, container: &str) -> Self {
        let v6 = |net: &IpNet| if let IpNet::V6(v6) = net { Some(v6.addr()) } else { None };
        let ipv6 = endpoint.addresses.iter().find_map(v6);
        let room = Self::MAX - Self::PREFIX.len() - owner(key, ipv6).len() - 1;
        Self::Endpoint { key, ipv6, container: cut(container, room) }
    }

    /// The alias that the link of an endpoint gets when it is shut.
    pub fn draining(&self) -> Self {
        match self.clone() {
            Self::Endpoint { key, ipv6, container } => {
                let room = Self::MAX - Self::PREFIX.len() - Self::DRAINING.len() - owner(key, ipv6).len() - 1;
                Self::Draining { key, ipv6, container: cut(&container, room) }
            }
            other => other,
        }
    }

    /// Whether `text` can be the alias of an endpoint's link, of whatever version.
    pub fn may_be_of_endpoint(text: &str) -> bool {
        Self::is_ours(text) && !matches!(text.parse(), Ok(Self::Network(_) | Self::InputLoop | Self::Names(_)))
    }

    /// Whether `text` is the alias of a link of ours, of whatever version.
    pub fn is_ours(text: &str) -> bool {
        text.starts_with(Self::PREFIX)
    }
}

/// What names the owner of an endpoint's link: the key, and behind a `+` the digits of the IPv6 address.
fn owner(key: Key, ipv6: Option<Ipv6Addr>) -> String {
    let address = ipv6.map(|address| format!("+{:032x}", u128::from(address))).unwrap_or_default();
    key.hex() + &address
}

/// The same read again.
fn read_owner(text: &str) -> Result<(Key, Option<Ipv6Addr>), Invalid> {
    let Some((key, digits)) = text.split_once('+') else { return Ok((text.parse()?, None)) };
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32);
    let number = number.ok_or_else(|| Invalid::new("alias", text, "is not one of ocinet's"))?;
    Ok((key.parse()?, Some(number.into())))
}

/// As much of `text` as has room in so many bytes.
fn cut(text: &str, room: usize) -> String {
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = Self::PREFIX;
        match self {
            Self::Network(name) => write!(f, "{prefix}network:{name}"),
            Self::Names(name) => write!(f, "{prefix}names:{name}"),
            Self::InputLoop => write!(f, "{prefix}detour:"),
            Self::Endpoint { key, ipv6, container } => write!(f, "{prefix}{}:{container}", owner(*key, *ipv6)),
            Self::Draining { key, ipv6, container } => {
                write!(f, "{prefix}{}{}:{container}", Self::DRAINING, owner(*key, *ipv6))
            }
        }
    }
}

impl FromStr for Alias {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("alias", text, "is not one of ocinet's");
        let (kind, rest) = text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once(':')).ok_or_else(wrong)?;
        match kind {
            "detour" => Ok(Self::InputLoop),
            "network" => Ok(Self::Network(rest.parse()?)),
            "names" => Ok(Self::Names(rest.parse()?)),
            "draining" => {
                let (owner, container) = rest.split_once(':').ok_or_else(wrong)?;
                let (key, ipv6) = read_owner(owner)?;
                Ok(Self::Draining { key, ipv6, container: container.to_owned() })
            }
            owner => {
                let (key, ipv6) = read_owner(owner)?;
                Ok(Self::Endpoint { key, ipv6, container: rest.to_owned() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::model::{Mac, Publishing, State, Wire};
    use proptest::prelude::*;

    fn endpoint(addresses: Vec<IpNet>) -> Endpoint {
        Endpoint {
            number: 1,
            state: State::Attached,
            network: "bridge".parse().unwrap(),
            wire: Wire::Child { parent: "lan0".parse().unwrap() },
            interface: "eth0".parse().unwrap(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            addresses,
            routes: Vec::new(),
            names: Vec::new(),
            name_server: None,
            publishing: Publishing::Direct,
            publishing6: None,
            gw_priority: 0,
            unguarded: false,
            ndp_proxy: false,
        }
    }

    #[test]
    fn what_is_of_no_endpoint_is_told_apart() {
        let key = Key::new(&"web".parse().unwrap(), "/b").hex();
        for (text, expected) in [
            (format!("ocinet:{key}:web"), true),
            (format!("ocinet:draining:{key}:web"), true),
            ("ocinet:of a later version".into(), true),
            ("ocinet:network:x".into(), false),
            ("ocinet:names:x".into(), false),
            ("eth0 of others".into(), false),
        ] {
            assert_eq!(Alias::may_be_of_endpoint(&text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_alias_fits_the_kernel_and_comes_back(container in "\\PC{0,300}", bundle: String, v6: Option<u128>) {
            let key = Key::new(&"web".parse().unwrap(), &bundle);
            let addresses = v6.map(|number| IpNet::from(IpAddr::from(Ipv6Addr::from(number))));
            let alias = Alias::endpoint(key, &endpoint(addresses.into_iter().collect()), &container);
            for alias in [alias.draining(), alias] {
                prop_assert!(alias.to_string().len() <= 254);
                prop_assert_eq!(alias.to_string().parse::<Alias>().unwrap(), alias);
            }
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        let network: Alias = "ocinet:network:front".parse().unwrap();
        assert_eq!(network, Alias::Network("front".parse().unwrap()));
        assert_eq!(
            Alias::Names("front".parse().unwrap()).to_string().parse(),
            Ok(Alias::Names("front".parse().unwrap()))
        );
        assert_eq!(Alias::InputLoop.to_string().parse::<Alias>().unwrap(), Alias::InputLoop);
        for stranger in
            ["", "ocinet:", "ocinet:network", "ocinet:0123:web", "ocinet:0123+7:web", "uplink", "ocinet:network:a/b"]
        {
            assert!(stranger.parse::<Alias>().is_err(), "{stranger}");
        }
    }
}
