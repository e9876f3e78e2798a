//! `/etc/ocinet/networks/NAME.toml`: the definition of a network.

mod draft;
mod import;
mod read;
mod write;

use crate::model::{Families, Family, InterfaceName, Invalid, Network, NetworkName, Options, Subnet};

pub use draft::Draft;
pub use import::import;
pub use read::{mistakes, parse};
pub use write::write_subnet;

use read::contradictions;

/// What a file says of a network. What it leaves open is chosen when the network is first used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, which is that of the file.
    pub name: NetworkName,
    /// The link of its bridge; none where it is not chosen yet.
    pub link: Option<InterfaceName>,
    /// The families of its addresses.
    pub families: Families,
    /// Its address ranges. Where one of a family is not chosen yet, there is none.
    pub subnets: Vec<Subnet>,
    /// What holds for all of its endpoints.
    pub options: Options,
    /// When `ocinet network create` wrote it (RFC 3339); none of a file that a person wrote.
    pub created: Option<String>,
}

/// Larger files are refused.
pub const MAX_BYTES: usize = 1 << 20;

impl Definition {
    /// A definition that leaves all open.
    pub fn new(name: NetworkName) -> Self {
        let families = Families::default().with(Family::V4);
        Self { name, link: None, families, subnets: Vec::new(), options: Options::default(), created: None }
    }

    /// The network that it defines; none where something is not chosen yet.
    pub fn network(&self) -> Option<Network> {
        let link = self.link.clone().filter(|_| self.open_families() == Families::default())?;
        let network = Network::of_bridge(self.name.clone(), link, self.subnets.clone());
        Some(Network { options: self.options.clone().into(), ..network })
    }

    /// The families of which a range is still to be chosen.
    pub fn open_families(&self) -> Families {
        let has_range = |family| self.subnets.iter().any(|subnet| Family::of(subnet.range.addr()) == family);
        self.families.iter().filter(|family| !has_range(*family)).collect()
    }
}

/// Names that mean something else where a network is named: the default network, modes of ours and of the engines.
const RESERVED: [&str; 6] = ["bridge", "host", "none", "default", "container", "ns"];

/// The name of a network that may be defined.
///
/// # Errors
/// When it is no name, or means something else.
pub fn definable(name: &str) -> Result<NetworkName, Invalid> {
    if RESERVED.contains(&name) {
        let why = match name {
            "bridge" => "is the default network, which needs no definition; its range is subnet in config.toml",
            "host" | "none" => "is no network of one's own, and goes with no other network",
            "default" => "is what others call the network bridge: name that, or choose another name",
            _ => "means something else where a network is named; choose another name",
        };
        return Err(Invalid::new("network", name, why));
    }
    name.parse()
}

#[cfg(test)]
mod tests;
