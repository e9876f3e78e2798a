use std::net::{IpAddr, Ipv6Addr};

use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::decide::request::EndpointRequest;
use ocinet::engine::{Engine, Kept, Result, not_attached};
use ocinet::model::{HostName, InterfaceName, Mac, NetworkName};

use super::named_first;
use crate::cli::Options;

/// Connect a container that runs to a network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Do not connect it again with its next start
    #[arg(long)]
    once: bool,
}

/// What is to be connected, and how.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// The network's name or id
    #[arg(value_name = "NETWORK", add = ArgValueCandidates::new(crate::cli::complete::networks))]
    network: String,
    /// The container's id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    pub container: String,
    /// Its address on the network; without it, the one that it had, or the next free one
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Its address of IPv6, likewise; without it, one that holds the IPv4 address, or the next free one
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address; without it, one that follows from the IP address
    #[arg(long, visible_alias = "mac", value_name = "ADDRESS")]
    mac_address: Option<Mac>,
    /// The name of the interface in the container; without it, the first of eth0, eth1 and so on that is free
    #[arg(long, value_name = "NAME")]
    interface: Option<InterfaceName>,
    /// The largest packet, in bytes; without it, the network's
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Of several networks, the one with the highest has the default route; without it, 0
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    gw_priority: Option<i32>,
    /// A further name by which containers on the network find it
    #[arg(long, value_name = "NAME")]
    alias: Vec<HostName>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let (container, request) = self.connection.read(options, log)?;
        let opened = Engine::open_used(&options.state_dir, options.config()?, log.clone())?;
        let mut engine = opened.ok_or_else(|| not_attached(&container, &[]))?;
        let kept = if self.once { Kept::Once } else { Kept::OverRestarts };
        let connected = engine.connect(&container, &request, kept);
        engine.close();
        connected.map(drop)
    }
}

impl Connection {
    /// The container, and what is asked for.
    ///
    /// # Errors
    /// Where the network does not exist, or a value cannot be had.
    pub fn read(self, options: &Options, log: &Logger) -> Result<(String, EndpointRequest)> {
        let name = named_first(&self.network, &self.container, options, log)?;
        let request = self.request(&name)?;
        Ok((self.container, request))
    }

    /// What is asked for, read as an annotation would be.
    fn request(&self, network: &NetworkName) -> Result<EndpointRequest> {
        let options = [
            ("ip", self.ip.map(|ip| ip.to_string())),
            ("ip6", self.ip6.map(|ip| ip.to_string())),
            ("mac", self.mac_address.map(|mac| mac.to_string())),
            ("interface", self.interface.as_ref().map(ToString::to_string)),
            ("mtu", self.mtu.map(|mtu| mtu.to_string())),
            ("gw-priority", self.gw_priority.map(|priority| priority.to_string())),
        ];
        let mut given: Vec<String> =
            options.into_iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}"))).collect();
        given.extend(self.alias.iter().map(|alias| format!("alias={alias}")));
        Ok(format!("{network}:{}", given.join(",")).parse::<EndpointRequest>()?)
    }
}
