use std::fmt::Write;

use clap_complete::engine::ArgValueCandidates;
use serde::Serialize;
use serde_json::{Map, Value, json};
use slog::Logger;

use ocinet::decide::moment;
use ocinet::engine::{Member, Result, not_attached};
use ocinet::kernel;
use ocinet::model::{Endpoint, KeptConnection, Namespace, NetnsLocator, Sandbox, shown};

use super::ps::Line;
use super::template::Template;
use super::{Options, print, print_json};

/// Show all about a container's network.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The container's id, its name, or the beginning of its id
    #[arg(value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    container: String,
    /// Print JSON: an array, since ids are unique only within one root of a runtime
    #[arg(long)]
    json: bool,
    /// Print this, a template of Go: {{.Addresses}}, all fields of `ocinet ps --format`, and Docker's such as
    /// {{.NetworkSettings.IPAddress}}; {{json .Record}} is what --json prints
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "json")]
    format: Option<String>,
}

/// A container with what is kept of it.
#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    sandbox: Sandbox,
    /// How it is now, as `ps` says it. JSON has what is in the store.
    #[serde(skip)]
    status: String,
    /// The connections that are made again with its next start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kept: Vec<KeptConnection>,
    /// The containers that share its network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<Member>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let template = self.format.as_deref().map(Template::parse).transpose()?;
        let Some(mut engine) = options.engine_to_look(log)? else { return Err(not_attached(&self.container, &[])) };
        let members = engine.members()?;
        let mut lines = Vec::new();
        for sandbox in engine.sandboxes_of(&self.container)? {
            lines.extend(Line::of(sandbox, &mut engine)?);
        }
        // What was there went meanwhile.
        if lines.is_empty() {
            return Err(not_attached(&self.container, &[]));
        }
        if let Some(template) = template {
            return lines.iter().try_for_each(|line| print(&format!("{}\n", shown(&template.render(&fields(line))?))));
        }
        let mut all = Vec::new();
        for Line { sandbox, status, .. } in lines {
            let its = members.iter().filter(|(member, _)| member.is_of(&sandbox));
            let members = its.map(|(member, _)| member.clone()).collect();
            all.push(Inspected { kept: engine.kept_connections(&sandbox)?, members, status, sandbox });
        }
        match self.json {
            true => print_json(&all),
            false => print(&all.iter().map(describe).collect::<Vec<_>>().join("\n")),
        }
    }
}

/// What templates know of a container: the fields of `ps`, and those of Docker's that say where it is reached.
fn fields(line: &Line) -> Value {
    let Line { sandbox, .. } = line;
    let text = |address: Option<String>| address.unwrap_or_default();
    let network = |endpoint: &Endpoint| {
        let address = endpoint.addresses.first();
        let settings = json!({
            "IPAddress": text(address.map(|net| net.addr().to_string())),
            "IPPrefixLen": address.map(|net| net.prefix_len()),
            "Gateway": text(endpoint.gateways().next().map(|gateway| gateway.to_string())),
            "MacAddress": endpoint.mac.to_string(),
        });
        (endpoint.network.to_string(), settings)
    };
    let mut fields = line.fields(true, kernel::now());
    fields["Name"] = sandbox.name.as_str().into();
    fields["NetworkSettings"] = json!({
        "IPAddress": text(sandbox.own_addresses().first().map(ToString::to_string)),
        "Networks": sandbox.endpoints.iter().map(network).collect::<Map<_, _>>(),
    });
    fields["Record"] = json!(line);
    fields
}

/// The sandboxes that `container` names. None is an error.
pub(super) fn sandboxes(container: &str, options: &Options, log: &Logger) -> Result<Vec<Sandbox>> {
    match options.engine_to_look(log)? {
        Some(mut engine) => engine.sandboxes_of(container),
        None => Err(not_attached(container, &[])),
    }
}

/// What people ask for comes first: where it is reached, and then how it is recognised.
fn describe(Inspected { sandbox, status, kept, members }: &Inspected) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "{key:<12} {}", shown(&value.to_string()));
    };
    line("container", &sandbox.container);
    line("name", &sandbox.name);
    line("mode", &sandbox.mode);
    line("status", status);
    if let Some(since) = sandbox.since {
        line("since", &moment::written(since));
    }
    for endpoint in &sandbox.endpoints {
        line("network", &endpoint.network);
        endpoint.addresses.iter().for_each(|address| line("address", address));
        endpoint.gateways().for_each(|gateway| line("gateway", &gateway));
        line("interface", &endpoint.interface);
        if let Some(link) = endpoint.wire.host_link() {
            let master = endpoint.wire.master().map(|master| format!(" on bridge {master}"));
            line("host link", &format!("{link}{}", master.unwrap_or_default()));
        }
        line("mac", &endpoint.mac);
        line("mtu", &endpoint.mtu);
        if endpoint.unguarded {
            line("guard", &"off");
        }
    }
    for mapping in sandbox.reached_ports() {
        let dormant = match sandbox.is_dormant(&mapping) {
            true => " (dormant: no network that it is on can publish it)",
            false => "",
        };
        line("published", &format!("{mapping}{dormant}"));
    }
    kept.iter().for_each(|kept| line("kept", &format!("network {}, joined again with its next start", kept.network)));
    members.iter().for_each(|member| line("shared by", &format!("container {} ({})", member.name, member.container)));
    line("bundle", &sandbox.bundle);
    line("record", &format!("{} ({})", sandbox.number, sandbox.key().hex()));
    let Namespace { cookie, locator, seen_from_pid_ns, seen_from_mnt_ns, nsid } = &sandbox.namespace;
    match locator {
        NetnsLocator::Unseen => line("namespace", &"not seen: rebuilt from its link"),
        NetnsLocator::Path(path) | NetnsLocator::Made { path, .. } => line("namespace", &path.display()),
        NetnsLocator::Process { pid, started } => line("namespace", &format!("/proc/{pid}/ns/net (started {started})")),
    }
    line("cookie", cookie);
    if let Some(nsid) = nsid {
        line("nsid", nsid);
    }
    line("seen from", &format!("pid:[{seen_from_pid_ns}] mnt:[{seen_from_mnt_ns}]"));
    text
}
