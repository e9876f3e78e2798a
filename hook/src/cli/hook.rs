use std::path::Path;

use slog::{Logger, debug, o};

use ocinet::config::Config;
use ocinet::engine::{Engine, Result};
use ocinet::kernel;
use ocinet::model::{Invalid, Key};
use ocinet::oci::{Bundle, Stage, State};
use ocinet::request::Request;

use super::Options;

pub(super) fn run(stage: Stage, options: &Options, log: &Logger) -> Result<()> {
    let state = State::parse(&kernel::read_stdin(State::MAX_BYTES)?)?;
    let log = log.new(o!("container" => state.id.to_string(), "stage" => stage.to_string()));
    match stage {
        Stage::Prestart | Stage::CreateRuntime => attach(&state, options, &log),
        Stage::Poststop => detach(&state, options, log),
    }
}

fn attach(state: &State, options: &Options, log: &Logger) -> Result<()> {
    let bundle = read_bundle(state)?;
    let config = options.config()?;
    let Some(request) = Request::new(state, &bundle, &config)? else {
        debug!(log, "no annotation of ours: nothing to do");
        return Ok(());
    };
    let pid = state.live_pid()?;
    let log = log.new(o!("network" => request.wiring.to_string()));
    let mut engine = Engine::open(&options.state_dir, config, log)?;
    let attached = engine.attach(&request, pid);
    let closed = engine.close();
    attached.and(closed)
}

/// Reads the bundle's config.json.
pub(super) fn read_bundle(state: &State) -> Result<Bundle> {
    let path = Path::new(&state.bundle).join("config.json");
    let json = kernel::read_regular(&path, Bundle::MAX_BYTES)
        .map_err(|error| Invalid::new("bundle", &state.bundle, error.to_string()))?
        .ok_or_else(|| Invalid::new("bundle", &state.bundle, "has no config.json"))?;
    Ok(Bundle::parse(&json, &path.to_string_lossy())?)
}

/// Reads neither bundle nor configuration: both may be gone or changed by now.
fn detach(state: &State, options: &Options, log: Logger) -> Result<()> {
    let Some(mut engine) = Engine::open_used(&options.state_dir, Config::default(), log)? else { return Ok(()) };
    let detached = engine.detach(&Key::new(&state.id, &state.bundle));
    let closed = engine.close();
    detached.and(closed)
}
