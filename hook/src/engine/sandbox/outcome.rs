//! How a lease and an attach can end.

use std::net::IpAddr;

use crate::decide::published::PublishedBy;
use crate::engine::Error;
use crate::engine::locks::FirewallLock;
use crate::model::{HostAddress, KeptConnection, Network, NetworkName, Protocol, Sandbox};
use crate::store::Holder;

/// How an attach ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sandbox was wired.
    Attached(Sandbox),
    /// It was wired before, and all of it stands.
    Stands(Sandbox),
    /// The network namespace belongs to another container, whose sandbox this is; the two share it.
    Member(Sandbox),
}

/// The result of a lease.
pub(in crate::engine) enum Lease {
    /// The sandbox is stored; it holds no address and no port.
    Nothing(Sandbox),
    /// The sandbox is stored with its endpoints.
    Endpoints {
        sandbox: Sandbox,
        /// That of each endpoint, in their order.
        networks: Vec<Network>,
        /// Held since the lease was written, until the kernel has its ports.
        firewall_lock: FirewallLock,
    },
    /// Nothing is to be wired.
    Done(Outcome),
}

/// Why a lease cannot be had now.
pub(in crate::engine) enum LeaseConflict {
    /// The container was attached before.
    Earlier(Box<Sandbox>),
    /// The network namespace has a sandbox already, of another container.
    Owned(Box<Sandbox>),
    /// An earlier endpoint in this namespace drains, of this number: its interface may have the name that the new one
    /// wants.
    Draining(i64),
    /// The container has connections that are kept, beside those that were asked for.
    Kept(Vec<KeptConnection>),
    /// The network is not defined yet.
    NoNetwork(NetworkName),
    /// No endpoint is on the network, and its definition was changed.
    Redefined(NetworkName),
    /// The ports were chosen by something else than this, which decides of them.
    Moved(PublishedBy),
    /// Another sandbox or endpoint holds this.
    Held { by: Holder, what: Wanted },
    /// All addresses of the network are given away, to these.
    NoAddress { network: Box<Network>, holders: Vec<Holder> },
    /// An error that no further try would change.
    Failed(Error),
}

/// What was asked for and is held.
pub(in crate::engine) enum Wanted {
    Address(IpAddr),
    Mac(String),
    Port { protocol: Protocol, address: HostAddress, port: u16 },
}

impl LeaseConflict {
    /// The same, where it is that the input is wrong, with where that input is.
    pub(super) fn within(self, field: &str) -> Self {
        match self {
            Self::Failed(Error::Invalid(invalid)) => Self::Failed(invalid.within(field).into()),
            other => other,
        }
    }
}

impl<E: Into<Error>> From<E> for LeaseConflict {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub(in crate::engine) type Leased<T> = std::result::Result<T, LeaseConflict>;
