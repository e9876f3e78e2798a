use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Invalid;

/// A container's id. Unique only within one `--root` of its runtime; see [`Key`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(String);

impl ContainerId {
    /// Ids become path components in every runtime, so one that could not is refused here.
    pub const MAX: usize = 255;
}

impl FromStr for ContainerId {
    type Err = Invalid;

    fn from_str(id: &str) -> Result<Self, Invalid> {
        let why = match id {
            "" => "is empty",
            "." | ".." => "is not a name",
            _ if id.len() > Self::MAX => "is longer than 255 bytes",
            _ if id.contains('/') => "contains a slash",
            _ if id.contains(|c: char| c.is_control()) => "contains a control character",
            _ => return Ok(Self(id.to_owned())),
        };
        Err(Invalid::new("id", id, why))
    }
}

/// The name a container is known by: `io.ocinet.name`, by default its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerName(String);

impl From<&ContainerId> for ContainerName {
    fn from(id: &ContainerId) -> Self {
        Self(id.0.clone())
    }
}

impl FromStr for ContainerName {
    type Err = Invalid;

    /// Docker's rule, and short enough for a DNS label: a letter or digit, then letters, digits, `_`, `.` and `-`.
    fn from_str(name: &str) -> Result<Self, Invalid> {
        if name.len() <= 63 && is_name(name) {
            return Ok(Self(name.to_owned()));
        }
        Err(Invalid::new("", name, "is no name: a letter or digit, then up to 62 of a-z A-Z 0-9 _ . -"))
    }
}

/// The name of a host: labels of letters, digits and `-`, joined by dots (RFC 1123, section 2.1; RFC 1035, section
/// 2.3.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostName(String);

impl HostName {
    /// The host name nearest to `text`: what does not fit becomes a hyphen.
    pub fn resembling(text: &str) -> Self {
        let fitting = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = text.chars().take(63).map(fitting).collect();
        let name = name.trim_matches(['-', '.']).to_owned();
        name.parse().unwrap_or_else(|_| Self("container".into()))
    }
}

impl FromStr for HostName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let label = |label: &str| {
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            (1..=63).contains(&label.len())
                && label.chars().all(inside)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // The kernel keeps 64 bytes of a host name (__NEW_UTS_LEN), DNS 253 of a domain name.
        if name.len() <= 253 && name.split('.').all(label) {
            return Ok(Self(name.to_owned()));
        }
        Err(Invalid::new("", name, "is no host name: labels of up to 63 letters, digits and hyphens, joined by dots"))
    }
}

fn is_name(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(tail)
}

/// The name of a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NetworkName(String);

impl FromStr for NetworkName {
    type Err = Invalid;

    /// Docker's rule: a letter or digit, then letters, digits, `_`, `.` and `-`.
    fn from_str(name: &str) -> Result<Self, Invalid> {
        if name.len() <= 64 && is_name(name) {
            return Ok(Self(name.to_owned()));
        }
        Err(Invalid::new("network", name, "is no network name: a letter or digit, then up to 63 of a-z A-Z 0-9 _ . -"))
    }
}

/// The name of a network interface, valid for the kernel (`dev_valid_name`, net/core/dev.c).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InterfaceName(String);

impl FromStr for InterfaceName {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        let why = match name {
            "" => "is empty",
            "." | ".." | "all" | "default" | "lo" => "is reserved",
            _ if name.len() > 15 => "is longer than the kernel's 15 bytes",
            _ if !name.bytes().all(|b| b.is_ascii_graphic() && !b"/:%\"".contains(&b)) => {
                "holds a character that no interface name may have"
            }
            _ => return Ok(Self(name.to_owned())),
        };
        Err(Invalid::new("interface", name, why))
    }
}

macro_rules! text_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}
text_id!(ContainerId, ContainerName, HostName, NetworkName, InterfaceName);

/// What a sandbox is found by: the container's id together with its bundle, as the runtime states them.
///
/// Neither a pid (absent at poststop) nor the id alone (two roots, one name) would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key([u8; 16]);

impl Key {
    /// The key of the container `id` with the bundle directory `bundle`.
    pub fn new(id: &ContainerId, bundle: &str) -> Self {
        Self::of_text(id.as_str(), bundle)
    }

    /// The key of something else that needs a file name: its `kind`, which holds no NUL, and a `text` that identifies
    /// it.
    pub fn of_text(kind: &str, text: &str) -> Self {
        // The first part holds no NUL, so the pair cannot be read in two ways. An id of a container holds none.
        let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }

    /// The key as the store has it.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The key as a file name and in an alias: 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The place of this key's lock in the lock file.
    pub fn lock_offset(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

impl From<[u8; 16]> for Key {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Key {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("key", text, "is not 32 hexadecimal digits");
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Key {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.hex()
    }
}

/// An Ethernet unicast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that belongs to `address`, so that a reused IP address keeps its MAC and no
    /// neighbour's ARP entry goes stale.
    pub fn of(address: IpAddr) -> Self {
        let low = match address {
            IpAddr::V4(v4) => v4.octets(),
            IpAddr::V6(v6) => {
                let digest = Sha256::digest(v6.octets());
                [digest[0], digest[1], digest[2], digest[3]]
            }
        };
        Self([0x02, 0x0c, low[0], low[1], low[2], low[3]])
    }
}

impl FromStr for Mac {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Invalid::new("mac", text, why);
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            let part = part.ok_or_else(|| wrong("is not six pairs of hexadecimal digits joined by colons"))?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong("is not hexadecimal"))?;
        }
        match bytes {
            _ if parts.next().is_some() => Err(wrong("has more than six bytes")),
            _ if bytes[0] & 1 == 1 => Err(wrong("is a multicast address; an interface needs a unicast one")),
            [0, 0, 0, 0, 0, 0] => Err(wrong("is the zero address")),
            _ => Ok(Self(bytes)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    #[test]
    fn container_ids() {
        for good in ["web", "a.b", "x_1+2-3", "ü", "a b"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn interface_names() {
        for good in ["eth0", "net.5", "a-b_c"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for bad in ["", "lo", "a/b", "abcdefghijklmnop", "a b", "a:1", "eth%d", "..", "all", "é", "a\n"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn macs() {
        assert_eq!("02:0C:0a:5a:00:02".parse(), Ok(Mac([2, 12, 10, 90, 0, 2])));
        assert_eq!(Mac::of(Ipv4Addr::new(10, 90, 0, 2).into()).to_string(), "02:0c:0a:5a:00:02");
        for bad in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "02:0c",
            "2:0c:0a:5a:0:2",
            "02-0c-0a-5a-00-02",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_tell_id_and_bundle_apart() {
        let key = |id: &str, bundle| Key::new(&id.parse().unwrap(), bundle);
        assert_ne!(key("web", "/a"), key("web", "/b"));
        assert_ne!(key("web", "/a"), key("web/".trim_end_matches('/'), "a"));
        assert_eq!(key("web", "/a").hex().len(), 32);
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,40}") {
            let _ = text.parse::<ContainerId>();
            let _ = text.parse::<NetworkName>();
            let _ = text.parse::<InterfaceName>();
            let _ = text.parse::<Mac>();
        }

        #[test]
        fn a_mac_survives_its_own_text(bytes: [u8; 6]) {
            let mac = Mac([bytes[0] & 0xfe | 2, bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]]);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }
}
