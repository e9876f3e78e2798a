use std::collections::HashMap;
use std::path::{Path, PathBuf};

use slog::{Discard, Logger, o, warn};

use ocinet::decide::published::left_out;
use ocinet::decide::request::Request;
use ocinet::engine::{Engine, OpenBundle, Plan, Result, bundle_of, missing_calls};
use ocinet::input::{HostPort, PublishRequest, State};
use ocinet::model::{ContainerId, Endpoint, Invalid, Mode, PortMapping, Sandbox, shown};
use ocinet::spec::Document;

use super::asked::Asked;
use super::network::Connection;
use super::{Options, print, print_json};

/// Show what an attach would do.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(flatten)]
    attach: Attach,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Attach {
    /// The bundle directory
    #[arg(value_name = "BUNDLE", required = true)]
    bundle: Option<PathBuf>,
    /// The container's id; by default that of the container that runs from the bundle, or the directory's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    asked: Asked,
    /// Plan it from config.json as it was before ocinet edited it first
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    shown: Shown,
}

/// How much of a plan is shown.
#[derive(Debug, clap::Args)]
struct Shown {
    /// Print the commands, too
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON: the record as it would be, the commands, and what the lines say
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what `network connect` would do
    #[command(after_help = "Example:\n  ocinet plan connect backend web")]
    Connect(Connect),
}

#[derive(Debug, clap::Args)]
struct Connect {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    shown: Shown,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        match (self.command, &self.attach.bundle) {
            (Some(Command::Connect(connect)), _) => connect.run(options, log),
            (None, Some(bundle)) => self.attach.run(bundle, options, log),
            (None, None) => Ok(()),
        }
    }
}

impl Connect {
    fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let (container, request) = self.connection.read(options, log)?;
        let plan = Engine::plan_connection(&options.state_dir, options.config()?, log.clone(), &container, &request)?;
        self.shown.show(&plan, &Beside::default(), log)
    }
}

impl Attach {
    fn run(&self, folder: &Path, options: &Options, log: &Logger) -> Result<()> {
        let shown = folder.display().to_string();
        let wrong = |why: &str| Invalid::new("bundle", &shown, why);
        let path = folder.canonicalize().map_err(|error| wrong(&error.to_string()))?;
        let bundle = path.to_str().ok_or_else(|| wrong("is not UTF-8"))?.to_owned();
        let id = self.id(&path, options)?;
        let config = options.config()?;
        let mut missing = Vec::new();
        let request = if self.asked == Asked::default() && !self.reset {
            let state = State { id, pid: 0, bundle, annotations: HashMap::new() };
            let request = Request::new(&state, &bundle_of(&state)?, &config)?;
            // One whose config.json is none that prepare would edit is planned nevertheless.
            missing.extend(OpenBundle::open(&path).ok().and_then(|open| missing_in(&open.spec, folder)));
            request
        } else {
            let mut open = OpenBundle::open(&path)?;
            let before = open.spec.clone();
            let request = self.asked.edit(&mut open, &id, self.reset, options, log)?;
            if open.spec != before {
                missing.push("in config.json, what is asked for here: ocinet prepare with the same flags".to_owned());
            }
            request
        };
        let Some(request) = request else {
            let why = format!(
                "has no io.ocinet.* annotation, so that the hook would do nothing; ocinet prepare {0} adds some, and ocinet \
                 plan --network bridge {0} shows what that would do",
                folder.display()
            );
            return Err(wrong(&why).into());
        };
        let plan = Engine::plan(&options.state_dir, config, log.clone(), &request)?;
        let runs = plan.is_attached.then_some("now, and this is its next start");
        self.shown.show(&plan, &Beside { missing, asked: request.wiring.asked_ports(), runs }, log)
    }

    /// A container that runs from the bundle is not in the way of its own plan.
    fn id(&self, bundle: &Path, options: &Options) -> Result<ContainerId> {
        if let Some(id) = &self.id {
            return Ok(id.parse()?);
        }
        let silent = Logger::root(Discard, o!());
        let engine = options.engine_to_look(&silent).ok().flatten();
        let sandboxes = engine.and_then(|mut engine| engine.sandboxes().ok()).unwrap_or_default();
        let mut running = sandboxes.into_iter().filter(|sandbox| Path::new(&sandbox.bundle) == bundle);
        match (running.next(), running.next()) {
            (Some(one), None) => Ok(one.container),
            _ => Ok(bundle.file_name().map(|name| name.to_string_lossy()).unwrap_or_default().parse()?),
        }
    }
}

/// What a runtime lacks in the spec to call ocinet.
fn missing_in(spec: &Document, bundle: &Path) -> Option<String> {
    let findings = missing_calls(spec, bundle);
    let troubles: Vec<&str> = findings.iter().map(|finding| finding.trouble.as_str()).collect();
    (!troubles.is_empty())
        .then(|| format!("the bundle {}: ocinet prepare {}", troubles.join(", and "), bundle.display()))
}

/// What is said beside a plan.
#[derive(Default)]
struct Beside<'r> {
    /// What is missing for ocinet to be called.
    missing: Vec<String>,
    /// The ports that are asked for at the start; none of a connect, which keeps those that there are.
    asked: &'r [PublishRequest],
    /// What is said of a container that runs.
    runs: Option<&'static str>,
}

/// Whether the host's port is none that is `asked` for by its number.
fn is_chosen(mapping: &PortMapping, asked: &[PublishRequest]) -> bool {
    let names =
        |one: &PublishRequest| matches!(&one.host_port, HostPort::Exactly(range) if range.contains(&mapping.host_port));
    !asked.is_empty() && !asked.iter().any(names)
}

impl Shown {
    fn show(&self, plan: &Plan, beside: &Beside<'_>, log: &Logger) -> Result<()> {
        let Beside { missing, asked, runs } = beside;
        if let Some(left_out) = left_out(&plan.sandbox) {
            warn!(log, "{left_out}");
        }
        let Plan { sandbox, commands, files, new, is_attached } = plan;
        if self.json {
            return print_json(&serde_json::json!({
                "record": sandbox, "commands": commands, "files": files, "new": new, "missing": missing, "attached": is_attached,
            }));
        }
        let or = |text: String, nothing: &str| if text.is_empty() { nothing.to_owned() } else { text };
        let mark = |port: &PortMapping| match sandbox.is_dormant(port) {
            true => " (dormant: on no network that can publish)",
            false if !sandbox.is_routed() && is_chosen(port, asked) => " (as of now: chosen anew at the start)",
            false => "",
        };
        let ports: Vec<String> = sandbox.reached_ports().iter().map(|port| format!("{port}{}", mark(port))).collect();
        let lines = [
            ("address", address(sandbox)),
            ("ports", or(ports.join(", "), "none")),
            ("files", or(files.join(", "), "none of ocinet's")),
            ("new", or(new.join(", "), "nothing on the host")),
            ("missing", or(missing.join("; "), "nothing")),
        ];
        // The commands can be run as they are printed, so that what is above them is a comment of a shell.
        let margin = if self.verbose { "# " } else { "" };
        let mut text: String = runs
            .map(|runs| ("runs", runs.to_owned()))
            .iter()
            .chain(&lines)
            .map(|(what, line)| format!("{margin}{what:<8} {}\n", shown(line)))
            .collect();
        if self.verbose {
            text.extend(commands.iter().map(|command| format!("{command}\n")));
        }
        print(&text)
    }
}

/// The addresses of each endpoint, with its network and interface.
fn address(sandbox: &Sandbox) -> String {
    let of = |endpoint: &Endpoint| {
        let addresses: Vec<String> = endpoint.addresses.iter().map(ToString::to_string).collect();
        let gateways: Vec<String> =
            endpoint.gateways().map(|gateway| format!(", default route via {gateway}")).collect();
        format!("{} on {} as {}{}", addresses.join(" "), endpoint.network, endpoint.interface, gateways.concat())
    };
    match sandbox.mode {
        Mode::Networks => sandbox.endpoints.iter().map(of).collect::<Vec<_>>().join("; "),
        Mode::Host => "the host's".to_owned(),
        Mode::None => "none but loopback".to_owned(),
    }
}
