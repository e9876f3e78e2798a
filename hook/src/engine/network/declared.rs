use crate::engine::{Engine, Result};
use crate::input::config;
use crate::model::{Families, Family, Network, NetworkName};

/// What a network is to be, by its file or by the host's settings. What is stored of it is what it is.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Declared {
    /// This, as its file says.
    Whole(Network),
    /// The default network, of these families.
    Default(Families),
    /// Not known: its file leaves something open, or is not there.
    Open,
}

impl Declared {
    /// The network, where all of it is known.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Self::Whole(network) => Some(network),
            Self::Default(_) | Self::Open => None,
        }
    }

    /// The families that it is going to have, as far as it is known.
    pub fn families(&self) -> Families {
        match self {
            Self::Whole(network) => network.families(),
            Self::Default(families) => *families,
            Self::Open => Families::default().with(Family::V4),
        }
    }

    /// Whether `network` is so. One of which nothing is known is as it should be.
    pub fn is_met_by(&self, network: &Network) -> bool {
        match self {
            Self::Whole(declared) => network.is_as_defined(declared),
            Self::Default(families) => network.families() == *families,
            Self::Open => true,
        }
    }
}

impl Engine {
    /// What the network `name` is to be now. The file of the default network is `config.toml`.
    pub(in crate::engine) fn declared(&mut self, name: &NetworkName) -> Result<Declared> {
        if *name == config::default_bridge() {
            return Ok(Declared::Default(self.config.bridge_families()));
        }
        Ok(self.definition(name)?.map_or(Declared::Open, Declared::Whole))
    }
}
