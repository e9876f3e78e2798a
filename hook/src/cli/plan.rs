use std::collections::HashMap;
use std::path::PathBuf;

use slog::Logger;

use ocinet::decide::request::Request;
use ocinet::engine::{Engine, Result, bundle_of};
use ocinet::input::State;
use ocinet::model::{ContainerId, Invalid};

use super::{Options, print, print_json};

/// Show what an attach would do.
#[derive(Debug, clap::Args)]
pub struct Arguments {
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

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
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
            let why = "has no io.ocinet.* annotation: the hook would do nothing";
            return Err(wrong(why).into());
        };
        let plan = Engine::plan(&options.state_dir, config, log.clone(), &request)?;
        if self.json {
            return print_json(&serde_json::json!({ "record": plan.sandbox, "commands": plan.commands }));
        }
        print(&(plan.commands.join("\n") + "\n"))
    }
}
