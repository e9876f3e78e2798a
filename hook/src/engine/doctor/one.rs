//! Why one container has no network, or not the one that it should have.

use std::collections::HashMap;
use std::path::Path;

use slog::{Discard, Logger, o};

use super::Finding;
use crate::decide::liveness::Life;
use crate::decide::request::{Request, Wiring};
use crate::engine::network::no_such;
use crate::engine::{Definitions, Engine, Error, Result, bundle_of};
use crate::input::config::{Config, default_bridge};
use crate::input::{Bundle, NetworkNamespace, Stage, State as RuntimeState};
use crate::kernel;
use crate::model::{ContainerId, Mode, Sandbox, State};
use crate::spec::Document;

impl Engine {
    /// What is the matter with the container of `sandbox`: what [`Engine::examine`] says of it and of what all containers
    /// share, and what its bundle would have its runtime do next.
    pub fn examine_one(&mut self, sandbox: &Sandbox) -> Vec<Finding> {
        let subject = format!("container {}", sandbox.container);
        let mut findings = vec![self.state_of(sandbox, &subject)];
        match self.examine() {
            // What concerns other containers is not asked for, nor notes on the host.
            Ok(all) => findings.extend(all.into_iter().filter(|finding| {
                finding.subject == subject || finding.is_fault() && !finding.subject.starts_with("container ")
            })),
            Err(error) => findings.push(Finding::unexamined("host", &error)),
        }
        if !sandbox.bundle.is_empty() {
            findings.extend(call_at_the_end(Path::new(&sandbox.bundle)));
        }
        findings
    }

    fn state_of(&mut self, sandbox: &Sandbox, subject: &str) -> Finding {
        let remedy = "delete it with its runtime; ocinet gc takes away what it left";
        match (sandbox.state, self.life(sandbox)) {
            (State::Attached, Life::Alive) => {
                let addresses: Vec<String> = sandbox.own_addresses().iter().map(ToString::to_string).collect();
                let trouble = match &addresses[..] {
                    [] if sandbox.mode == Mode::Networks => {
                        "is attached, and on no network: it was disconnected from its last".to_owned()
                    }
                    [] => format!("is attached, mode {}, and has no address of ocinet's", sandbox.mode),
                    all => format!("is attached, with {}", all.join(", ")),
                };
                Finding::fine(subject, trouble)
            }
            (State::Attached, Life::Dead) => {
                let trouble = "has ended, and its runtime has not called poststop yet: it was not deleted, or its runtime was killed";
                Finding::yours(subject, trouble, remedy)
            }
            (State::Attached, Life::Unknown(why)) => Finding::yours(
                subject,
                format!("cannot be looked at from here: {why}"),
                "ocinet doctor as root of the host",
            ),
            (state, _) => Finding::yours(subject, format!("is {state}"), remedy),
        }
    }
}

/// Why a container of the bundle in `directory` would have no network: what the hook would refuse, and whether it is
/// called at all.
pub fn examine_bundle(
    directory: &Path,
    config: &Config,
    state_dir: &Path,
    engine: Option<&mut Engine>,
) -> Vec<Finding> {
    let subject = format!("bundle {}", directory.display());
    let path = match directory.canonicalize() {
        Ok(path) => path,
        Err(error) => {
            return vec![Finding::yours(subject, format!("cannot be opened: {error}"), "name the bundle's folder")];
        }
    };
    let read = kernel::read_regular(&path.join("config.json"), Bundle::MAX_BYTES);
    let json = match read {
        Ok(Some(json)) => json,
        Ok(None) => {
            return vec![Finding::yours(subject, "has no config.json", "runc spec, or the tool that made the bundle")];
        }
        Err(error) => return vec![Finding::yours(subject, format!("cannot be read: {error}"), "correct config.json")],
    };
    let spec = match Document::parse(&json, "config.json") {
        Ok(spec) => spec,
        Err(error) => return vec![Finding::yours(subject, error.to_string(), "correct config.json")],
    };
    let prepare = format!("ocinet prepare {}", directory.display());
    let mut findings = Vec::new();
    if !spec.asks_for_us() && config.default_network.is_none() {
        let trouble = "has no annotation of ocinet's, so that the hook does nothing";
        findings.push(Finding::yours(&subject, trouble, &prepare));
    }
    findings.extend(calls(&spec, &subject, &prepare));
    if let Err(error) = asked_for(&path, config, state_dir, engine) {
        findings.push(Finding::yours(&subject, format!("would be refused: {error}"), prepare));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(subject, "asks for a network, and its runtime calls ocinet for it"));
    }
    findings
}

/// What is missing in `spec`, that of the bundle in `directory`, for a runtime to call ocinet at all.
pub fn missing_calls(spec: &Document, directory: &Path) -> Vec<Finding> {
    calls(spec, &format!("bundle {}", directory.display()), &format!("ocinet prepare {}", directory.display()))
}

/// The hooks by which a runtime calls us.
fn calls(spec: &Document, subject: &str, prepare: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stages = [Stage::CreateRuntime, Stage::Prestart].into_iter();
    let attach = stages.filter_map(|stage| Some((stage, spec.our_program(stage)?))).next();
    let detach = spec.our_program(Stage::Poststop).map(|program| (Stage::Poststop, program));
    if attach.is_none() && detach.is_none() {
        let trouble =
            "has no hook of ocinet's: runc and crun do not call it; podman and containerd need none in the bundle";
        return vec![Finding::yours(subject, trouble, prepare)];
    }
    for (missing, what) in
        [(attach.is_none(), "createRuntime: it gets no network"), (detach.is_none(), "poststop: what it held stays")]
    {
        if missing {
            findings.push(Finding::yours(subject, format!("has no hook of ocinet's for {what}"), prepare));
        }
    }
    for (stage, program) in attach.into_iter().chain(detach) {
        if !kernel::is_program(Path::new(program)) {
            let trouble = format!("has {program} as its hook for {stage}, which is not there: it was moved or removed");
            findings.push(Finding::yours(subject, trouble, prepare));
        }
    }
    findings
}

/// What is wrong with the end of a container that runs: without a hook, it stays attached when it is gone. A bundle that
/// cannot be read is its runtime's own.
fn call_at_the_end(bundle: &Path) -> Option<Finding> {
    let json = kernel::read_regular(&bundle.join("config.json"), Bundle::MAX_BYTES).ok().flatten()?;
    let spec = Document::parse(&json, "config.json").ok()?;
    let program = spec.our_program(Stage::Poststop)?;
    (!kernel::is_program(Path::new(program))).then(|| {
        let trouble =
            format!("has {program} as its hook for poststop, which is not there: nothing takes its network away");
        let remedy = format!(
            "put the program back, or, once the container is deleted, ocinet gc; ocinet prepare {}",
            bundle.display()
        );
        Finding::yours(format!("bundle {}", bundle.display()), trouble, remedy)
    })
}

/// What the hook would refuse.
fn asked_for(bundle: &Path, config: &Config, state_dir: &Path, mut engine: Option<&mut Engine>) -> Result<()> {
    let name = bundle.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let sandboxes = engine.as_deref_mut().map(Engine::sandboxes).transpose()?.unwrap_or_default();
    // One that runs from the bundle is not in its own way.
    let id: ContainerId = match sandboxes.into_iter().find(|sandbox| Path::new(&sandbox.bundle) == bundle) {
        Some(sandbox) => sandbox.container,
        None => name.parse().or_else(|_| "bundle".parse())?,
    };
    let state = RuntimeState { id, pid: 0, bundle: bundle.to_string_lossy().into_owned(), annotations: HashMap::new() };
    let Some(request) = Request::new(&state, &bundle_of(&state)?, config)? else { return Ok(()) };
    match &request.wiring {
        Wiring::Networks { connections, .. } => {
            let definitions = Definitions::of(config, state_dir);
            for name in connections.iter().map(|one| &one.network).filter(|name| **name != default_bridge()) {
                if definitions.read(name)?.is_none() {
                    return Err(no_such(name, &definitions.sound()?));
                }
            }
        }
        Wiring::Member(owner) => {
            match engine {
                Some(engine) => engine.netns_owner(owner).map(drop)?,
                None => return Err(crate::engine::not_attached(owner.as_str(), &[])),
            }
            if let NetworkNamespace::At(path) = &request.namespace
                && kernel::is_gone(path)
            {
                let why = format!("{} is gone: container {owner} was started anew since", path.display());
                return Err(Error::NotFound(why));
            }
        }
        _ => {}
    }
    Engine::plan(state_dir, config.clone(), Logger::root(Discard, o!()), &request).map(drop)
}
