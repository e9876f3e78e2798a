use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use slog::{Logger, warn};

use ocinet::engine::{Engine, Error, Result};
use ocinet::files::File;
use ocinet::kernel::{self, Replaceable};
use ocinet::model::{ContainerId, HostName, Invalid};
use ocinet::oci::edit::{Document, Edit, FileMount, Placement};
use ocinet::oci::{Bundle, State};
use ocinet::request::Request;

use super::Options;

/// The annotation that says which network.
pub(super) const NETWORK: &str = "io.ocinet.network";

/// Edit a bundle's config.json so that its runtime calls ocinet.
///
/// Every time, it starts from config.json as it was before ocinet edited it first: what was asked for then and is not now
/// goes. Fields that ocinet does not know and hooks of other tools stay.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle directory
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// How to wire it: bridge, host, none or container:CONTAINER; without it, as config.json says, or bridge
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Publish a port, as docker run -p does
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Its address on the bridge
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
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
    #[arg(long, conflicts_with_all = ["network", "publish", "ip", "name", "hostname", "dns", "dns_search", "dns_option", "add_host"])]
    undo: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let shown = self.bundle.display().to_string();
        let wrong = |why: &str| Invalid::new("bundle", &shown, why);
        let path =
            self.bundle.canonicalize().map_err(|error| refusal(&shown, kernel::Error::refused("open", error)))?;
        let bundle = path.to_str().ok_or_else(|| wrong("is not UTF-8"))?;
        let open = Replaceable::open(&path, "config.json", Bundle::MAX_BYTES);
        let (file, json) = open.map_err(|error| refusal(&shown, error))?;
        let mut spec = Document::parse(&json, &path.join("config.json").to_string_lossy())?;
        spec.undo()?;
        if !self.undo {
            let edit = self.edit(&spec, options, log)?;
            spec.edit(&edit)?;
            // What the hook would refuse is refused here, too.
            let edited = Bundle::parse(&spec.to_json(), &shown)?;
            let id = path.file_name().and_then(|name| name.to_str()).unwrap_or("bundle").parse()?;
            let state = State { id, pid: 0, bundle: bundle.to_owned(), annotations: HashMap::new() };
            let request = Request::new(&state, &edited, &options.config()?)?;
            for warning in request.into_iter().flat_map(|request| request.warnings) {
                warn!(log, "{warning}");
            }
        }
        let edited = spec.to_json();
        if edited == json {
            return Ok(());
        }
        file.replace(&edited).map_err(|error| refusal(&shown, error))
    }

    fn edit(self, spec: &Document, options: &Options, log: &Logger) -> Result<Edit> {
        let network = match &self.network {
            Some(network) => network.clone(),
            None => match spec.annotation(NETWORK) {
                Some(network) => network.to_owned(),
                None => options.config()?.default_network.unwrap_or_else(|| "bridge".into()),
            },
        };
        let hostname = self.hostname.as_deref().map(str::parse::<HostName>).transpose();
        let hostname = hostname.map_err(|error| error.within("--hostname"))?;
        let mut edit = edit_for(spec, &with_address(network, self.ip)?, options, log)?;
        edit.hooks = Some(options.hook_command()?);
        edit.hostname = hostname.or(edit.hostname);
        let mut annotate = |key, values: &[String]| {
            if !values.is_empty() {
                edit.annotations.push((key, values.join(",")));
            }
        };
        annotate("io.ocinet.publish", &self.publish);
        annotate("io.ocinet.name", self.name.as_slice());
        // The runtime sets the host name itself; this says that it was meant.
        annotate("io.ocinet.hostname", self.hostname.as_slice());
        annotate("io.ocinet.dns", &self.dns);
        annotate("io.ocinet.dns-search", &self.dns_search);
        annotate("io.ocinet.dns-option", &self.dns_option);
        annotate("io.ocinet.add-host", &self.add_host);
        Ok(edit)
    }
}

/// What becomes of a spec whose container is to be wired as `network` says. A container to be joined must be running.
pub(super) fn edit_for(spec: &Document, network: &str, options: &Options, log: &Logger) -> Result<Edit> {
    let annotated = |network: String| vec![(NETWORK, network)];
    if let Some(neighbour) = network.strip_prefix("container:") {
        let id: ContainerId = neighbour.parse().map_err(|e: Invalid| e.within(&format!("annotation {NETWORK}")))?;
        let neighbour = match options.engine(log)? {
            Some(mut engine) => engine.neighbour(&id)?,
            None => return Err(Engine::not_attached(id.as_str(), &[])),
        };
        let hostname = neighbour.hostname.filter(|_| spec.has_namespace("uts"));
        let mounts = neighbour.files.iter().map(|(file, source)| mount(*file, source)).collect();
        return Ok(Edit {
            network: Some(Placement::At(neighbour.namespace)),
            annotations: annotated(format!("container:{}", neighbour.record.container)),
            hostname: hostname.and_then(|name| name.parse().ok()),
            mounts,
            hooks: None,
        });
    }
    let placement = if network == "host" { Placement::Host } else { Placement::Own };
    Ok(Edit { network: Some(placement), annotations: annotated(network.to_owned()), ..Edit::default() })
}

fn mount(file: File, source: &Path) -> FileMount {
    FileMount { source: source.to_owned(), destination: Path::new("/etc").join(file.name()) }
}

/// `--ip`, as an option of the network.
fn with_address(network: String, ip: Option<IpAddr>) -> Result<String> {
    let Some(ip) = ip else { return Ok(network) };
    let (name, options) = network.split_once(':').unwrap_or((&network, ""));
    match name {
        "host" | "none" | "container" => {
            Err(Invalid::new("--ip", ip, format!("has no effect with network {network}")).into())
        }
        _ if options.is_empty() => Ok(format!("{name}:ip={ip}")),
        _ => Ok(format!("{network},ip={ip}")),
    }
}

/// That the bundle cannot be read or written is the bundle's fault, not ocinet's.
fn refusal(bundle: &str, error: kernel::Error) -> Error {
    let Some(code) = error.errno() else { return error.into() };
    let errno = nix::errno::Errno::from_raw(code);
    let why = match errno {
        nix::errno::Errno::ENOTDIR => "is not a directory".to_owned(),
        nix::errno::Errno::ENOENT => match Path::new(bundle).exists() {
            true => "has no config.json".to_owned(),
            false => "does not exist".to_owned(),
        },
        _ => format!("cannot be edited: {}", errno.desc()),
    };
    Invalid::new("bundle", bundle, why).into()
}
