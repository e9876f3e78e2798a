use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use slog::{Logger, warn};

use ocinet::engine::{Error, Lifetime, Result};
use ocinet::input::network_file::{self, Definition, Draft};
use ocinet::kernel;
use ocinet::model::{Invalid, shown};

use super::docker;
use crate::cli::{Options, print};

/// Define a network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The network's name; without it, that in the file of --from
    #[arg(value_name = "NAME", required_unless_present = "from")]
    name: Option<String>,
    /// What connects its containers: bridge
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge", hide_default_value = true)]
    driver: String,
    /// A range of addresses, such as 10.64.7.0/24; may be repeated. Without it, one of network_pools in config.toml
    #[arg(long, value_name = "RANGE", value_parser = range)]
    subnet: Vec<IpNet>,
    /// The host's address in the subnet that it is in; without it, the first
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// The part of a subnet from which containers get addresses; without it, all
    #[arg(long, value_name = "RANGE", value_parser = range)]
    ip_range: Vec<IpNet>,
    /// An address that no container gets, and what has it; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Let nothing lead out of it, or into it
    #[arg(long)]
    internal: bool,
    /// A note about it; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// An option of the bridge, by its key in a definition or Docker's name; may be repeated
    #[arg(short, long = "opt", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// A name server of its containers; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// A route of its containers; may be repeated
    #[arg(long, value_name = "RANGE,GATEWAY[,METRIC]")]
    route: Vec<String>,
    /// The name of its bridge; without it, ocn- and eight digits
    #[arg(long, value_name = "NAME")]
    interface_name: Option<String>,
    /// Take over what docker network inspect, podman network inspect or a file of CNI says; - reads stdin. What else is
    /// said here is added, or goes first
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Keep the definition in /run until the host restarts, where /etc cannot be written
    #[arg(long)]
    runtime: bool,
    /// Do nothing where there is such a network, and say where it has another range
    #[arg(long)]
    ignore: bool,
    /// Who gives addresses: default
    #[arg(long, value_name = "DRIVER", hide = true, default_value = "default")]
    ipam_driver: String,
    /// Give it IPv6, too: one of its subnets, or one that follows from this machine and the network's name
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    ipv6: Option<bool>,
    /// Leave IPv4 out with --ipv4=false
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false")]
    ipv4: Option<bool>,
    /// Changes nothing: every container can join
    #[arg(long, hide = true)]
    attachable: bool,
    /// Changes nothing: names are not built yet
    #[arg(long, hide = true)]
    disable_dns: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let draft = self.draft()?;
        let ranges = draft.ranges.clone();
        let name = self.name.or_else(|| draft.name.clone()).unwrap_or_default();
        if ["true", "false"].contains(&name.as_str()) && (self.ipv4.is_some() || self.ipv6.is_some()) {
            let why = "is the name of the network here; say --ipv6=true or --ipv4=false in one word";
            return Err(Invalid::new("network create", name, why).into());
        }
        let name = network_file::definable(&name)?;
        let lifetime = if self.runtime { Lifetime::ThisBoot } else { Lifetime::Lasting };
        let (definitions, config) = (options.definitions(), options.config()?);
        let made = definitions.create(options.engine_to_look(log)?, &config, name.clone(), draft, lifetime, log);
        match made {
            Err(Error::Conflict(_)) if self.ignore && definitions.exists(&name)? => {
                if let Some(there) = definitions.read(&name)? {
                    tell_of_others(&ranges, &there, log);
                }
            }
            made => drop(made?),
        }
        print(&format!("{}\n", docker::id(name.as_str())))
    }

    fn draft(&self) -> Result<Draft> {
        let mut draft = match &self.from {
            Some(path) => network_file::import(&text_of(path)?, &shown(&path.to_string_lossy()))?,
            None => Draft::default(),
        };
        refuse_unbuilt("--driver", &self.driver, &["bridge"])?;
        refuse_unbuilt("--ipam-driver", &self.ipam_driver, &["default", "host-local"])?;
        draft.ipv4 = self.ipv4.or(draft.ipv4);
        draft.ipv6 = self.ipv6.or(draft.ipv6);
        if !self.subnet.is_empty() {
            // In place of those of the file.
            draft = Draft { ranges: self.subnet.clone(), gateways: vec![], pools: vec![], aux: vec![], ..draft };
        }
        draft.gateways.extend(&self.gateway);
        draft.pools.extend(&self.ip_range);
        for aux in &self.aux_address {
            let (name, address) = pair("--aux-address", aux)?;
            let address =
                address.parse().map_err(|_| Invalid::new("--aux-address", aux, "has no address behind the ="))?;
            draft.aux.push((name.to_owned(), address));
        }
        draft.options.internal |= self.internal;
        draft.options.dns.extend(&self.dns);
        for label in &self.label {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            draft.options.labels.insert(key.to_owned(), value.to_owned());
        }
        for option in &self.options {
            let (key, value) = pair("--opt", option)?;
            draft.set(key, value)?;
        }
        for route in &self.route {
            draft.set("route", route)?;
        }
        if let Some(name) = &self.interface_name {
            draft.set("bridge", name)?;
        }
        Ok(draft)
    }
}

/// A range of addresses. One without the length of its prefix is told apart from what is no address.
fn range(text: &str) -> std::result::Result<IpNet, String> {
    text.parse().map_err(|_| match text.parse::<IpAddr>() {
        Ok(address) => {
            let length = if address.is_ipv4() { 24 } else { 64 };
            format!("is one address; a range has the length of its prefix behind it, as in {address}/{length}")
        }
        Err(_) => "is no range of addresses, such as 10.64.7.0/24".to_owned(),
    })
}

/// Says which of the ranges that were asked for the network that is `there` has not.
fn tell_of_others(asked: &[IpNet], there: &Definition, log: &Logger) {
    let has: Vec<String> = there.subnets.iter().map(|subnet| subnet.range.to_string()).collect();
    for range in asked.iter().filter(|range| !has.contains(&range.trunc().to_string())) {
        warn!(log, "network {} stays as it is: it has {}, and not {range}", there.name, has.join(", "));
    }
}

fn text_of(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        let read = std::io::stdin().take(network_file::MAX_BYTES as u64).read_to_end(&mut text);
        read.map_err(|error| kernel::Error::refused("read stdin", error))?;
        return Ok(text);
    }
    let text = kernel::read_regular(path, network_file::MAX_BYTES)?;
    text.ok_or_else(|| Error::NotFound(format!("--from {}: there is no such file", shown(&path.to_string_lossy()))))
}

fn refuse_unbuilt(option: &str, value: &str, built: &[&str]) -> Result<()> {
    if built.contains(&value) {
        return Ok(());
    }
    Err(Invalid::new(option, value, format!("is not built; there is {}", built.join(", "))).into())
}

/// The two sides of `KEY=VALUE`.
fn pair<'t>(option: &str, text: &'t str) -> Result<(&'t str, &'t str)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key, value)),
        _ => Err(Invalid::new(option, text, "is not of the form KEY=VALUE").into()),
    }
}
