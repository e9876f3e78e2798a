//! What the kernel must do for an endpoint, one file per driver. Pure: steps are data.

mod bridge;
mod guard;
mod setting;

pub use bridge::{bridge, bridge_of, port};
pub use guard::FilterProgram;
pub use setting::Setting;

use ipnet::IpNet;
use std::net::IpAddr;

use crate::model::{Alias, InterfaceName, Mac};

/// What an endpoint needs, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// In the host's namespace.
    pub host: Vec<HostStep>,
    /// In the container's namespace, after the host's.
    pub sandbox: Vec<SandboxStep>,
}

/// One thing in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostStep {
    /// A bridge of ours is there and up.
    Bridge(Bridge),
    /// A veth pair connects the container to it.
    Veth(Veth),
}

/// A bridge of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: InterfaceName,
    /// What tells whose it is, readable by `ip -d link`.
    pub alias: Alias,
    /// Its own MAC, since udev and the kernel would otherwise change it with the ports.
    pub mac: Mac,
    /// Its MTU in bytes. A bridge that was never told one follows its smallest port (`br_mtu_auto_adjust`,
    /// net/bridge/br_if.c), so that one container's `mtu=` would hold for all.
    pub mtu: u32,
    /// The gateway addresses.
    pub addresses: Vec<IpNet>,
    /// Whether rules of ours guard the network.
    pub guarded: bool,
}

/// A veth pair: one end a port of the bridge, its peer born in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Veth {
    /// The host's end.
    pub name: InterfaceName,
    /// What tells whose it is, readable by `ip -d link`.
    pub alias: Alias,
    /// The bridge.
    pub bridge: InterfaceName,
    /// The container's end.
    pub peer: InterfaceName,
    /// The MAC of the container's end.
    pub mac: Mac,
    /// The MTU of both ends.
    pub mtu: u32,
    /// What the host's end lets in.
    pub guard: FilterProgram,
}

/// One thing in the container's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxStep {
    /// The loopback interface is up.
    Loopback,
    /// An interface has its addresses and is up.
    Interface {
        /// Its name.
        name: InterfaceName,
        /// Its addresses with prefix length.
        addresses: Vec<IpNet>,
    },
    /// The others on the network learn of the interface's MAC: it asks for its gateway, which all of them hear.
    Announce {
        /// The interface.
        name: InterfaceName,
        /// The address that it asks for.
        gateway: IpAddr,
    },
    /// The default route, unless the namespace has one already.
    DefaultRoute {
        /// The next hop.
        gateway: IpAddr,
    },
}
