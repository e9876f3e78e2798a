//! podman's stage before a container exists: its spec comes in on stdin and goes out, edited, on stdout.
//!
//! podman discards the stderr of a hook of this stage, and shows only that it failed. So an invalid annotation is no
//! failure here: the spec goes out unchanged, and `createRuntime` refuses the container with a message that the user
//! sees.

use std::net::IpAddr;

use slog::{Logger, warn};

use ocinet::engine::{Result, edit_for, files_to_fill};
use ocinet::input::{Annotations, Bundle};
use ocinet::kernel;
use ocinet::model::quoted;
use ocinet::spec::{Document, podmans_names};

use super::{Options, podman, print};

/// The names by which podman's containers know their host (podman-run(1), --add-host). The address that podman gives
/// them is that of another network.
const HOST: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// podman's hosts files are larger than this only if the host's own file is.
const MAX_HOSTS: usize = 1 << 20;

pub(super) fn run(options: &Options, log: &Logger) -> Result<()> {
    let json = kernel::read_stdin(Bundle::MAX_BYTES)?;
    let spec = Document::parse(&json, "on stdin")?;
    let edited = match edited(spec.clone(), options, log) {
        Ok(spec) => spec,
        Err(error) => {
            warn!(log, "the spec stays as it is, and the container will not start: {error}");
            spec
        }
    };
    print(&String::from_utf8_lossy(&edited.to_json()))
}

fn edited(mut spec: Document, options: &Options, log: &Logger) -> Result<Document> {
    // A container in a namespace that another program wires, or in the host's, keeps the files of that namespace.
    if !spec.asks_for_us() || !spec.has_unwired_namespace() {
        return Ok(spec);
    }
    let network = spec.annotation(Annotations::NETWORK).unwrap_or("bridge").to_owned();
    let mut edit = edit_for(&spec, &network, || options.engine_to_look(log))?;
    edit.hostname = spec.wanted_hostname()?.or(edit.hostname);
    if !network.starts_with("container:") {
        let on_network = network != "host" && network != "none";
        let ours = spec.annotation(Annotations::ADD_HOST).map(String::from);
        let others = names_of_others(&spec)?;
        let theirs = others.iter().filter(|(name, _)| !on_network || !HOST.contains(&name.as_str()));
        let theirs = theirs.map(|(name, address)| entry(name, *address));
        let gateway = HOST.iter().filter(|_| on_network).map(|name| format!("{name}:host-gateway"));
        let all: Vec<String> = ours.into_iter().chain(theirs).chain(gateway).collect();
        if !all.is_empty() {
            edit.annotations.push((Annotations::ADD_HOST, all.join(",")));
        }
    }
    spec.leave_to_us(network == "host");
    if !network.starts_with("container:") {
        edit.mounts = files_to_fill(&options.state_dir, &spec)?;
    }
    spec.edit_for_good(&edit)?;
    // Behind what makes the state directory, without which the warning would be in no log.
    warn_of_what_is_lost(log);
    Ok(spec)
}

/// Warns of values that podman threw away, and says how all of them are given.
fn warn_of_what_is_lost(log: &Logger) {
    for (key, values) in podman::given_twice() {
        let how = match key.as_str() {
            Annotations::NETWORK => format!("as one: {key}={}", values.join(";")),
            Annotations::NAME | Annotations::HOSTNAME | "io.ocinet.publish-via" => "once".to_owned(),
            _ => format!("as one: '{key}={}'", values.join(" ")),
        };
        let last = values.last().map_or("", String::as_str);
        warn!(log, "podman keeps the last --annotation {key} alone, which is {}; give it {how}", quoted(last));
    }
}

/// The host names and addresses that podman put into the container's file. None with `--no-hosts`, nor with podman 5,
/// which writes the file later.
fn names_of_others(spec: &Document) -> Result<Vec<(String, IpAddr)>> {
    let Some(path) = spec.podmans_file("hosts") else { return Ok(Vec::new()) };
    let text = kernel::read_regular(&path, MAX_HOSTS)?.unwrap_or_default();
    Ok(podmans_names(&String::from_utf8_lossy(&text)))
}

fn entry(name: &str, address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{name}:{v4}"),
        IpAddr::V6(v6) => format!("{name}:[{v6}]"),
    }
}
