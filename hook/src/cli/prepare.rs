use std::net::IpAddr;
use std::path::PathBuf;

use clap_complete::engine::ArgValueCandidates;
use slog::{Logger, warn};

use ocinet::engine::{Definitions, OpenBundle, Result, edit_for};
use ocinet::input::{Annotations, PUBLISH_ALL};
use ocinet::model::{HostName, Invalid};
use ocinet::spec::{Document, Edit};

use super::Options;

/// Edit a bundle's config.json so that its runtime calls ocinet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle directory
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// How to wire it: bridge or another network, several where it is given several times, host, none or
    /// container:CONTAINER; without it, as config.json says, or bridge
    #[arg(long, value_name = "NETWORK", add = ArgValueCandidates::new(crate::cli::complete::modes))]
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
    /// A further name by which containers on the network find it
    #[arg(long, value_name = "NAME")]
    network_alias: Vec<HostName>,
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
    /// Give config.json back as it was
    #[arg(long, conflicts_with_all = ["network", "publish_via", "publish", "publish_all", "ip", "network_alias", "name", "hostname", "dns", "dns_search", "dns_option", "add_host"])]
    undo: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let mut bundle = OpenBundle::open(&self.bundle)?;
        bundle.spec.undo()?;
        if !self.undo {
            let edit = self.edit(&bundle.spec, options, log)?;
            bundle.spec.edit(&edit)?;
            let config = options.config()?;
            let request = bundle.request(bundle.name().parse()?, &config)?;
            if let Some(request) = &request {
                OpenBundle::check_networks(request, &Definitions::of(&config, &options.state_dir))?;
            }
            for warning in request.into_iter().flat_map(|request| request.warnings) {
                warn!(log, "{warning}");
            }
        }
        bundle.save()
    }

    fn edit(self, spec: &Document, options: &Options, log: &Logger) -> Result<Edit> {
        let network = match &self.network[..] {
            [_, ..] => self.network.join(";"),
            [] => match spec.annotation(Annotations::NETWORK) {
                Some(network) => network.to_owned(),
                None => options.config()?.default_network.unwrap_or_else(|| "bridge".into()),
            },
        };
        let mut network = network;
        if let Some(ip) = self.ip {
            network = with_option(network, "--ip", "ip", &ip.to_string())?;
        }
        for alias in &self.network_alias {
            network = with_option(network, "--network-alias", "alias", alias.as_str())?;
        }
        let hostname = self.hostname.as_deref().map(str::parse::<HostName>).transpose();
        let hostname = hostname.map_err(|error| error.within("--hostname"))?;
        let mut edit = edit_for(spec, &network, || options.engine_to_look(log))?;
        edit.hooks = Some(options.hook_command()?);
        edit.hostname = match hostname.or(edit.hostname) {
            None if spec.has_templates_hostname() => self.hostname_of(spec)?,
            hostname => hostname,
        };
        let mut annotate = |key, values: &[String]| {
            if !values.is_empty() {
                edit.annotations.push((key, values.join(",")));
            }
        };
        let all = self.publish_all.then(|| PUBLISH_ALL.to_owned());
        annotate("io.ocinet.publish", &all.into_iter().chain(self.publish).collect::<Vec<_>>());
        annotate("io.ocinet.publish-via", self.publish_via.as_slice());
        annotate("io.ocinet.name", self.name.as_slice());
        // The runtime sets the host name itself. The annotation says that the user chose it.
        annotate("io.ocinet.hostname", self.hostname.as_slice());
        annotate("io.ocinet.dns", &self.dns);
        annotate("io.ocinet.dns-search", &self.dns_search);
        annotate("io.ocinet.dns-option", &self.dns_option);
        annotate("io.ocinet.add-host", &self.add_host);
        Ok(edit)
    }

    /// The host name for a container whose spec has that of a template: from its annotations, or its name. Without
    /// either the host name stays, since the container's id is not known yet.
    fn hostname_of(&self, spec: &Document) -> Result<Option<HostName>> {
        let name = self.name.as_deref().or_else(|| spec.annotation(Annotations::NAME));
        let named = name.filter(|_| spec.has_namespace("uts")).map(HostName::resembling);
        Ok(spec.wanted_hostname()?.or(named))
    }
}

/// What `flag` says, as the option `key` of the network.
fn with_option(network: String, flag: &str, key: &str, value: &str) -> Result<String> {
    if network.contains(';') || network.starts_with('[') {
        let why = format!("is for one of several networks; say which, as in --network front:{key}={value}");
        return Err(Invalid::new(flag, value, why).into());
    }
    let (name, options) = network.split_once(':').unwrap_or((&network, ""));
    match name {
        "host" | "none" | "container" => {
            Err(Invalid::new(flag, value, format!("has no effect with network {network}")).into())
        }
        _ if options.is_empty() => Ok(format!("{name}:{key}={value}")),
        _ => Ok(format!("{network},{key}={value}")),
    }
}
