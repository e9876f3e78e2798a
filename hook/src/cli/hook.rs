use std::time::Instant;

use slog::{Logger, debug, o, warn};

use ocinet::decide::request::Request;
use ocinet::engine::{Engine, Result, bundle_of, discard_files_of};
use ocinet::input::config::Config;
use ocinet::input::{Annotations, Bundle, Stage, State};
use ocinet::kernel;
use ocinet::log::{Timings, with_records};
use ocinet::model::Key;

use super::{Options, podman, precreate, report};

/// Wire or unwire a container.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// When in the container's life the runtime calls
    #[arg(value_name = "STAGE", value_parser = stages())]
    stage: Stage,
    /// Say on stderr how long each step took, in microseconds
    #[arg(long)]
    timings: bool,
}

fn stages() -> impl clap::builder::TypedValueParser<Value = Stage> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(Stage::NAMES).try_map(|name| name.parse::<Stage>())
}

impl Arguments {
    /// Reports its errors itself, since its log records name the container. Returns the exit code.
    pub(super) fn run(self, options: &Options, log: &Logger) -> u8 {
        kernel::hurry_memory();
        let timings = self.timings.then(|| Timings::start(kernel::processor_time()));
        let log = timings.as_ref().map_or_else(|| log.clone(), |timings| timings.listen(log));
        let log = with_records(&log, &options.state_dir).new(o!("stage" => self.stage.to_string()));
        if self.stage == Stage::Precreate {
            return report(precreate::run(options, &log), &log);
        }
        let began = Instant::now();
        let code = match read_state() {
            Ok(state) => {
                let log = log.new(o!("container" => state.id.to_string()));
                step(&log, "state", began);
                let done = self.wire(&state, options, &log);
                // The id that podman makes is not what its user calls the container. It is looked for only now, since it
                // takes a walk through processes.
                let name = done.as_ref().err().and_then(|_| name_of(&state));
                let log = name.map_or_else(|| log.clone(), |name| log.new(o!("name" => name)));
                report(done, &log)
            }
            Err(error) => report(Err(error), &log),
        };
        if let Some(timings) = timings {
            timings.tell();
        }
        code
    }

    fn wire(&self, state: &State, options: &Options, log: &Logger) -> Result<()> {
        match self.stage {
            Stage::Precreate | Stage::Prestart | Stage::CreateRuntime => attach(state, options, log),
            Stage::Poststop => detach(state, options, log.clone()),
        }
    }
}

/// What the user calls the container, where it is more than its id.
fn name_of(state: &State) -> Option<String> {
    let said = state.annotations.get(Annotations::NAME).cloned();
    said.or_else(|| podman::container_of(state).map(|container| container.name.to_string()))
}

/// Logs a step in the same form as the engine.
fn step(log: &Logger, step: &str, since: Instant) {
    let took = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    debug!(log, "step"; "step" => step, "us" => took);
}

fn read_state() -> Result<State> {
    Ok(State::parse(&kernel::read_stdin(State::MAX_BYTES)?)?)
}

fn attach(state: &State, options: &Options, log: &Logger) -> Result<()> {
    let since = Instant::now();
    let bundle = bundle_of(state)?;
    let attached = attach_bundle(state, &bundle, options, log, since);
    if attached.is_err()
        && let Err(error) = discard_files_of(&bundle, &options.state_dir)
    {
        warn!(log, "{error}");
    }
    attached
}

fn attach_bundle(state: &State, bundle: &Bundle, options: &Options, log: &Logger, since: Instant) -> Result<()> {
    let config = options.config()?;
    let Some(mut request) = Request::new(state, bundle, &config)? else {
        debug!(log, "no annotation of ours: nothing to do");
        return Ok(());
    };
    let owner = podman::owner_of(state, &request.namespace);
    let is_member = owner.is_some();
    if let Some(podmans) = owner.or_else(|| podman::container_of(state)) {
        request.kept_by = podmans.keeping_key();
        let is_named = state.annotations.contains_key(Annotations::NAME);
        if is_member {
            let own = podman::container_of(state).filter(|_| !is_named).map(|own| own.name);
            let own = own.unwrap_or_else(|| request.identity.name.clone());
            request.belong_to(podmans.id, podmans.bundle, own);
        }
        if !is_named {
            request.identity.name = podmans.name;
        }
    }
    let pid = state.live_pid()?;
    step(log, "request", since);
    // Of a container that shares another's network, the name is that one's here.
    let name = (!is_member).then(|| request.identity.name.to_string());
    let log = name.map_or_else(|| log.clone(), |name| log.new(o!("name" => name)));
    let log = log.new(o!("network" => request.wiring.to_string()));
    let mut engine = Engine::open(&options.state_dir, config, log)?;
    let attached = engine.attach(&request, pid);
    engine.close_at_exit();
    attached.map(drop)
}

/// Reads neither bundle nor configuration: both may be gone or changed by now.
fn detach(state: &State, options: &Options, log: Logger) -> Result<()> {
    let Some(mut engine) = Engine::open_used(&options.state_dir, Config::unread(&options.config_dir), log)? else {
        return Ok(());
    };
    let detached = engine.detach(&Key::new(&state.id, &state.bundle));
    engine.close_at_exit();
    detached
}
