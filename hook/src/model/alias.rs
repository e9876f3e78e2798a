use std::fmt;
use std::str::FromStr;

use super::{Invalid, Key, NetworkName};

/// What a link of ours carries as its alias (`IFLA_IFALIAS`, shown by `ip link`), so that the kernel alone is enough to
/// find what is ours and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alias {
    /// The bridge of a network.
    Network(NetworkName),
    /// An end of the input loop: packets for a published port come by it once the host's own rules have let them in.
    InputLoop,
    /// The host's end of an endpoint.
    Endpoint {
        /// The key of the sandbox it belongs to.
        key: Key,
        /// The container's id, for people; cut off where the alias would be too long.
        container: String,
    },
    /// The same once its sandbox has ended: it was shut to be deleted.
    Draining {
        /// The key of the sandbox it belonged to.
        key: Key,
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

    /// The alias of the endpoints of the container `container` with `key`.
    pub fn endpoint(key: Key, container: &str) -> Self {
        Self::Endpoint { key, container: cut(container, Self::MAX - Self::PREFIX.len() - key.hex().len() - 1) }
    }

    /// The alias that the link of an endpoint gets when it is shut.
    pub fn draining(&self) -> Self {
        match self.clone() {
            Self::Endpoint { key, container } => {
                let room = Self::MAX - Self::PREFIX.len() - Self::DRAINING.len() - key.hex().len() - 1;
                Self::Draining { key, container: cut(&container, room) }
            }
            other => other,
        }
    }

    /// Whether `text` is the alias of a link of ours, of whatever version.
    pub fn is_ours(text: &str) -> bool {
        text.starts_with(Self::PREFIX)
    }
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
            Self::InputLoop => write!(f, "{prefix}detour:"),
            Self::Endpoint { key, container } => write!(f, "{prefix}{}:{container}", key.hex()),
            Self::Draining { key, container } => write!(f, "{prefix}{}{}:{container}", Self::DRAINING, key.hex()),
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
            "draining" => {
                let (hex, container) = rest.split_once(':').ok_or_else(wrong)?;
                Ok(Self::Draining { key: hex.parse()?, container: container.to_owned() })
            }
            hex => Ok(Self::Endpoint { key: hex.parse()?, container: rest.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_alias_fits_the_kernel_and_comes_back(container in "\\PC{0,300}", bundle: String) {
            let key = Key::new(&"web".parse().unwrap(), &bundle);
            let alias = Alias::endpoint(key, &container);
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
        assert_eq!(Alias::InputLoop.to_string().parse::<Alias>().unwrap(), Alias::InputLoop);
        for stranger in ["", "ocinet:", "ocinet:network", "ocinet:0123:web", "uplink", "ocinet:network:a/b"] {
            assert!(stranger.parse::<Alias>().is_err(), "{stranger}");
        }
    }
}
