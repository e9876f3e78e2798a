//! The families of addresses, for stories that tell the same of each.

use anyhow::{Context, Result};
use ocinet_integration::{Container, PEER, UPLINK};

/// The host's and the LAN peer's addresses of IPv6, and one behind the peer.
pub const UPLINK6: &str = "2001:db8:51::1";
pub const PEER6: &str = "2001:db8:51::2";
pub const FAR6: &str = "2001:db8:52::1";

/// IPv6 on the cable between the host and its LAN peer.
pub const CABLE: &str = "
    ip address add 2001:db8:51::1/64 dev uplink nodad
    ip -netns peer address add 2001:db8:51::2/64 dev eth0 nodad
    ip -netns peer address add 2001:db8:52::1/128 dev lo nodad
    ip route add default via 2001:db8:51::2
";

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: &[Self] = &[Self::V4, Self::V6];
    pub const FIRST: &[Self] = &[Self::V4];

    /// The host's address in the LAN.
    pub fn uplink(self) -> &'static str {
        if self == Self::V4 { UPLINK } else { UPLINK6 }
    }

    /// The LAN peer's.
    pub fn peer(self) -> &'static str {
        if self == Self::V4 { PEER } else { PEER6 }
    }

    /// The range of one address.
    pub fn alone(self, address: &str) -> String {
        format!("{address}/{}", if self == Self::V4 { 32 } else { 128 })
    }

    /// `ip` for this family.
    pub fn ip(self) -> &'static str {
        if self == Self::V4 { "ip -4" } else { "ip -6" }
    }

    /// The host's address on the network of number `n`, which [`define`] defines.
    pub fn gateway(self, n: u8) -> String {
        if self == Self::V4 { format!("10.64.{n}.1") } else { format!("fd00:{n}::1") }
    }

    fn is_of(self, address: &str) -> bool {
        address.contains(':') == (self == Self::V6)
    }

    /// The container's address on `network`.
    pub fn address_on(self, container: &Container<'_>, network: &str) -> Result<String> {
        let sandbox = container.sandbox()?;
        let endpoint = sandbox.on(network).with_context(|| format!("no endpoint on {network} in {sandbox:#?}"))?;
        let found = endpoint.addresses.iter().filter_map(|address| Some(address.split_once('/')?.0));
        let mut found = found.filter(|address| self.is_of(address)).map(str::to_owned);
        found.next().with_context(|| format!("no address of {self:?} in {endpoint:#?}"))
    }

    /// The next hop of its default route.
    pub fn next_hop(self, container: &Container<'_>) -> Result<String> {
        let sandbox = container.sandbox()?;
        let mut all = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.gateways);
        let found = all.find(|gateway| self.is_of(gateway)).cloned();
        found.with_context(|| format!("no default route of {self:?} in {sandbox:#?}"))
    }
}

/// The port of an address.
pub fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A script that defines the network `name` with the bridge `ocn-N`, its range 10.64.N.0/24 and, for both families,
/// fd00:N::/64.
pub fn define(name: &str, n: u8, more: &str, families: &[Family]) -> String {
    let v6 =
        if families.contains(&Family::V6) { format!("\n[[subnet]]\nrange = \"fd00:{n}::/64\"") } else { String::new() };
    format!(
        "mkdir -p /etc/ocinet/networks
         cat >/etc/ocinet/networks/{name}.toml <<'END'
driver = \"bridge\"
bridge = \"ocn-{n}\"
{more}
[[subnet]]
range = \"10.64.{n}.0/24\"{v6}
END\n"
    )
}
