//! What the kernel must do for an endpoint, one file per driver. Pure: steps are data.

mod bridge;

pub use bridge::bridge;

use ipnet::IpNet;
use std::net::IpAddr;

use crate::model::{InterfaceName, Mac};

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
    Bridge {
        /// Its name.
        name: InterfaceName,
        /// Its own MAC, since udev and the kernel would otherwise change it with the ports.
        mac: Mac,
        /// Its MTU in bytes when it is made.
        mtu: u32,
        /// The gateway addresses.
        addresses: Vec<IpNet>,
    },
    /// A veth pair: one end a port of the bridge, its peer born in the container's namespace.
    Veth {
        /// The host's end.
        name: InterfaceName,
        /// What tells whose it is, readable by `ip -d link`.
        alias: String,
        /// The bridge.
        bridge: InterfaceName,
        /// The container's end.
        peer: InterfaceName,
        /// The MAC of the container's end.
        mac: Mac,
        /// The MTU of both ends.
        mtu: u32,
    },
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
    /// The default route, unless the namespace has one already.
    DefaultRoute {
        /// The next hop.
        gateway: IpAddr,
    },
}
