//! What a person asks of a container's network, in the flags of `docker run`: for `prepare`, `run` and `plan`.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use clap_complete::engine::ArgValueCandidates;
use slog::{Logger, warn};

use ocinet::decide::request::Request;
use ocinet::engine::{Definitions, Error, OpenBundle, Result, edit_for};
use ocinet::input::{Annotations, PUBLISH_ALL};
use ocinet::model::{ContainerId, HostName, Invalid, Mac};
use ocinet::spec::{Document, Edit};

use super::Options;

/// How to wire a container, and what it is called.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Asked {
    /// How to wire it: a network, several where it is repeated, host, none or container:CONTAINER; without it, as
    /// config.json says, or bridge
    #[arg(long, visible_alias = "net", value_name = "NETWORK", add = ArgValueCandidates::new(crate::cli::complete::modes))]
    network: Vec<String>,
    /// The network by which published ports reach it
    #[arg(long, value_name = "NETWORK")]
    publish_via: Option<String>,
    /// Publish a port, as docker run -p does
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish every port that the image exposes, each at a free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Its address on the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Its address of IPv6 on the network
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// Its MAC address on the network
    #[arg(long, visible_alias = "mac", value_name = "ADDRESS")]
    mac_address: Option<Mac>,
    /// The largest packet on the network, in bytes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// A further name by which containers on the network find it
    #[arg(long, value_name = "NAME")]
    network_alias: Vec<HostName>,
    /// The name of the interface in the container
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// What ocinet calls it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// A name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// A search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// A resolver option
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// A line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
}

/// The values of our annotations in a spec, by their keys.
struct Said(Vec<(&'static str, String)>);

impl Said {
    fn of(spec: &Document) -> Self {
        let value = |key: &'static str| Some((key, spec.annotation(key)?.to_owned()));
        Self(Annotations::KEYS.iter().filter_map(|key| value(key.name)).collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_str())
    }

    fn set(&mut self, key: &'static str, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }

    /// Adds to a list what is not in it yet. One to which nothing comes stays as it is written.
    fn add(&mut self, key: &'static str, more: &[String]) {
        let words =
            |text: &str| text.split([',', ' ']).filter(|word| !word.is_empty()).map(String::from).collect::<Vec<_>>();
        let mut items = words(self.get(key).unwrap_or_default());
        let known = items.len();
        for item in more.iter().flat_map(|text| words(text)) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        if items.len() > known {
            self.set(key, items.join(","));
        }
    }
}

impl Asked {
    /// Edits the spec of `bundle` for the container `id`, in memory. What is asked for comes to what the spec says
    /// already, by itself or by an earlier edit; with `anew`, only to what it says by itself. Nothing at all asks for as
    /// much as the spec does. Returns what the hook will read.
    ///
    /// # Errors
    /// What the hook would refuse.
    pub(super) fn edit(
        &self,
        bundle: &mut OpenBundle,
        id: &ContainerId,
        anew: bool,
        options: &Options,
        log: &Logger,
    ) -> Result<Option<Request>> {
        let edited = Said::of(&bundle.spec);
        bundle.spec.undo()?;
        let itself = bundle.spec.clone();
        let said = if anew { Said::of(&itself) } else { edited };
        let has_more = said.0 != Said::of(&itself).0;
        let done = self.apply(bundle, said, id, options, log);
        if !has_more {
            return done;
        }
        let Err(Error::Invalid(mut error)) = done else { return done };
        // It is told what to do where the fault is what was asked for before.
        bundle.spec = itself;
        let alone = Said::of(&bundle.spec);
        if self.apply(bundle, alone, id, options, log).is_ok() {
            error.why += "; what was asked for before is added to, and --reset begins anew";
        }
        Err(Error::Invalid(error))
    }

    fn apply(
        &self,
        bundle: &mut OpenBundle,
        said: Said,
        id: &ContainerId,
        options: &Options,
        log: &Logger,
    ) -> Result<Option<Request>> {
        let edit = self.edit_of(&bundle.spec, said, options, log)?;
        bundle.spec.edit(&edit)?;
        let config = options.config()?;
        let mut request = bundle.request(id.clone(), &config)?;
        if let Some(request) = &mut request {
            let definitions = Definitions::of(&config, &options.state_dir);
            OpenBundle::check_networks(request, &definitions)?;
            if OpenBundle::has_dormant_ports(request, &definitions)? {
                let why =
                    "published ports are dormant: the container is on internal networks alone, so they lead nowhere";
                request.warnings.push(why.to_owned());
            }
        }
        Ok(request)
    }

    fn edit_of(&self, spec: &Document, mut said: Said, options: &Options, log: &Logger) -> Result<Edit> {
        let network = match (&self.network[..], said.get(Annotations::NETWORK)) {
            ([_, ..], _) => self.network.join(";"),
            ([], Some(network)) => network.to_owned(),
            ([], None) => options.config()?.default_network.unwrap_or_else(|| "bridge".into()),
        };
        let mut edit = edit_for(spec, &self.with_options(network)?, || options.engine_to_look(log))?;
        edit.hooks = Some(options.hook_command()?);
        let all = self.publish_all.then(|| PUBLISH_ALL.to_owned());
        said.add("io.ocinet.publish", &all.into_iter().chain(self.publish.iter().cloned()).collect::<Vec<_>>());
        said.add("io.ocinet.dns", &self.dns);
        said.add("io.ocinet.dns-search", &self.dns_search);
        said.add("io.ocinet.dns-option", &self.dns_option);
        said.add(Annotations::ADD_HOST, &self.add_host);
        for (key, value) in [
            ("io.ocinet.publish-via", &self.publish_via),
            (Annotations::NAME, &self.name),
            (Annotations::HOSTNAME, &self.hostname),
        ] {
            value.iter().for_each(|value| said.set(key, value.clone()));
        }
        edit.hostname = match self.wanted_hostname(spec, &said)?.or(edit.hostname) {
            None if spec.has_templates_hostname() => template_hostname(spec, &said)?,
            hostname => hostname,
        };
        // In the order of the manual, so that the same is written the same way.
        for key in Annotations::KEYS.iter().map(|key| key.name).filter(|key| *key != Annotations::NETWORK) {
            edit.annotations.extend(said.get(key).map(|value| (key, value.to_owned())));
        }
        Ok(edit)
    }

    /// The host name that was asked for with a flag, this time or before. The runtime sets it itself; the annotation says
    /// that the user chose it.
    fn wanted_hostname(&self, spec: &Document, said: &Said) -> Result<Option<HostName>> {
        let wanted = said.get(Annotations::HOSTNAME);
        if self.hostname.is_none() && wanted == spec.annotation(Annotations::HOSTNAME) {
            return Ok(None);
        }
        Ok(wanted.map(str::parse::<HostName>).transpose().map_err(|error| error.within("--hostname"))?)
    }

    /// The network with the options that have flags of their own.
    fn with_options(&self, network: String) -> Result<String> {
        let ip = self.ip.map(|ip| ("--ip", if ip.is_ipv4() { "ip" } else { "ip6" }, ip.to_string()));
        let options = [
            ip,
            self.ip6.map(|ip| ("--ip6", "ip6", ip.to_string())),
            self.mac_address.map(|mac| ("--mac-address", "mac", mac.to_string())),
            self.interface.clone().map(|name| ("--interface", "interface", name)),
            self.mtu.map(|mtu| ("--mtu", "mtu", mtu.to_string())),
        ];
        let aliases = self.network_alias.iter().map(|alias| ("--network-alias", ALIAS, alias.to_string()));
        let given = options.into_iter().flatten().chain(aliases);
        given.into_iter().try_fold(network, |network, (flag, key, value)| with(&network, flag, key, &value))
    }
}

/// The host name for a container whose spec has that of a template: from its annotations, or its name. Without either it
/// stays, since the container's id is not known yet.
fn template_hostname(spec: &Document, said: &Said) -> Result<Option<HostName>> {
    let name = said.get(Annotations::NAME).filter(|_| spec.has_namespace("uts")).map(HostName::resembling);
    Ok(spec.wanted_hostname()?.or(name))
}

/// The option that a network may have several times.
const ALIAS: &str = "alias";

/// `network` with one option more, or another value of it.
fn with(network: &str, flag: &str, key: &str, value: &str) -> Result<String> {
    if network.contains(';') || network.starts_with('[') {
        let why = format!("is for one of several networks; say which, as in --network front:{key}={value}");
        return Err(Invalid::new(flag, value, why).into());
    }
    let (name, options) = network.split_once(':').unwrap_or((network, ""));
    if ["host", "none", "container"].contains(&name) {
        return Err(Invalid::new(flag, value, format!("has no effect with network {network}")).into());
    }
    let new = format!("{key}={value}");
    let stays = |option: &&str| match option.split('=').next() {
        Some(other) if other == key => key == ALIAS && *option != new,
        _ => !option.is_empty(),
    };
    let others: Vec<String> = options.split([',', ' ']).filter(stays).map(String::from).collect();
    let options: Vec<String> = others.into_iter().chain([new]).collect();
    Ok(format!("{name}:{}", options.join(",")))
}

/// Logs what is accepted of a request and has no effect.
pub(super) fn warn_of(request: Option<&Request>, log: &Logger) {
    request.into_iter().flat_map(|request| &request.warnings).for_each(|warning| warn!(log, "{warning}"));
}

/// What the annotations of `spec` ask for, in one line.
pub(super) fn in_one_line(spec: &Document) -> String {
    let said = Said::of(spec).0;
    let word = |(key, value): &(&str, String)| format!("{} {value}", key.trim_start_matches("io.ocinet."));
    said.iter().map(word).collect::<Vec<_>>().join("; ")
}

/// The folder as people call it: by its name.
pub(super) fn name_of(folder: &Path, bundle: &OpenBundle) -> String {
    let shown = folder.display().to_string();
    if folder.file_name().is_some() { shown } else { bundle.name().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_the_network_is_added_or_replaced() {
        let rows = [
            ("bridge", "bridge:ip=10.90.0.5"),
            ("bridge:", "bridge:ip=10.90.0.5"),
            ("bridge:mtu=1400 ip=10.90.0.4,mac=x", "bridge:mtu=1400,mac=x,ip=10.90.0.5"),
        ];
        for (network, expected) in rows {
            assert_eq!(with(network, "--ip", "ip", "10.90.0.5").unwrap(), expected);
        }
        let aliases = "front:alias=web,mtu=1400,alias=www";
        assert_eq!(with(aliases, "--network-alias", "alias", "web").unwrap(), "front:mtu=1400,alias=www,alias=web");
        assert_eq!(with(aliases, "--network-alias", "alias", "w").unwrap(), format!("{aliases},alias=w"));
        for network in ["a;b", "[{}]", "host", "none", "container:web"] {
            assert!(with(network, "--ip", "ip", "10.90.0.5").unwrap_err().to_string().starts_with("--ip"), "{network}");
        }
    }

    #[test]
    fn lists_grow_and_repeat_nothing() {
        let mut said = Said(vec![("io.ocinet.publish", "80:80 81:81".into())]);
        said.add("io.ocinet.publish", &["81:81".into(), "82:82,83:83".into()]);
        said.add("io.ocinet.dns", &[]);
        assert_eq!(said.0, [("io.ocinet.publish", "80:80,81:81,82:82,83:83".to_owned())]);
    }
}
