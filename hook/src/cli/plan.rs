use std::collections::HashMap;
use std::path::PathBuf;

use slog::{Logger, warn};

use ocinet::decide::published::left_out;
use ocinet::decide::request::Request;
use ocinet::engine::{Engine, Plan, Result, bundle_of};
use ocinet::input::State;
use ocinet::model::{ContainerId, Invalid};

use super::network::Connection;
use super::{Options, print, print_json};

/// Show what an attach would do.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Arguments {
    #[command(flatten)]
    attach: Option<Attach>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Args)]
struct Attach {
    /// The bundle directory
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The container's id; by default the bundle directory's name
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print JSON: the record, and the commands
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
    /// Print JSON: the record as it would be, and the commands
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        match (self.command, self.attach) {
            (Some(Command::Connect(connect)), _) => connect.run(options, log),
            (None, Some(attach)) => attach.run(options, log),
            (None, None) => Ok(()),
        }
    }
}

impl Connect {
    fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let (container, request) = self.connection.read(options, log)?;
        let plan = Engine::plan_connection(&options.state_dir, options.config()?, log.clone(), &container, &request)?;
        show(&plan, self.json, log)
    }
}

impl Attach {
    fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let shown = self.bundle.display().to_string();
        let wrong = |why: &str| Invalid::new("bundle", &shown, why);
        let path = self.bundle.canonicalize().map_err(|error| wrong(&error.to_string()))?;
        let bundle = path.to_str().ok_or_else(|| wrong("is not UTF-8"))?.to_owned();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let id: ContainerId = self.id.unwrap_or(name).parse()?;
        let state = State { id, pid: 0, bundle, annotations: HashMap::new() };
        let spec = bundle_of(&state)?;
        let config = options.config()?;
        let Some(request) = Request::new(&state, &spec, &config)? else {
            let why = "has no io.ocinet.* annotation: the hook would do nothing; ocinet prepare adds some";
            return Err(wrong(why).into());
        };
        let plan = Engine::plan(&options.state_dir, config, log.clone(), &request)?;
        show(&plan, self.json, log)
    }
}

fn show(plan: &Plan, json: bool, log: &Logger) -> Result<()> {
    if let Some(left_out) = left_out(&plan.sandbox) {
        warn!(log, "{left_out}");
    }
    if json {
        return print_json(&serde_json::json!({ "record": plan.sandbox, "commands": plan.commands }));
    }
    print(&(plan.commands.join("\n") + "\n"))
}
