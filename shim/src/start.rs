//! `start`: wires the network and edits the bundle before the container exists.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ocinet::decide::request::Request;
use ocinet::engine::{Engine, Error, OpenBundle, Result, edit_for, files_to_fill, settings};
use ocinet::input::config::Config;
use ocinet::input::{Annotations, NetworkNamespace};
use ocinet::kernel;
use ocinet::model::{ContainerId, Invalid, Requester};
use ocinet::spec::{Document, Edit, HookCommand};
use slog::{Logger, warn};

use crate::call::Call;
use crate::delete;
use crate::serve::{self, Containerd};
use crate::stock::Working;
use crate::{CONFIG_DIR, STATE_DIR};

/// The folders in which the program for the runtime is looked for, if it is not beside this one.
const PLACES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// The annotation that gives the kind of a pod's container (containerd, `internal/cri/annotations`).
const KIND: &str = "io.kubernetes.cri.container-type";

/// Wires the network of the bundle in the working directory as its annotations ask, and edits its spec to use it. If
/// the runtime has to make the namespace, the runtime calls the hook to wire that. The stock shim's start takes longer,
/// reads only the parts of the bundle that stay unchanged, and runs at the same time.
///
/// # Errors
/// When the request cannot be fulfilled. Then the bundle is unchanged, nothing is attached, and no shim runs.
pub fn run(call: &Call, stock: Working, log: &Logger) -> Result<ExitCode> {
    if let Err(error) = prepare(call, log) {
        if let Err(error) = stock.revoke() {
            warn!(log, "{error}");
        }
        return Err(error);
    }
    let finished = stock.finish();
    if !matches!(finished, Ok(ExitCode::SUCCESS)) {
        // The container will not exist, so containerd will not call `delete`.
        delete::detach(call, log);
    }
    finished
}

/// Everything that is done before the container exists.
fn prepare(call: &Call, log: &Logger) -> Result<()> {
    let mut bundle = OpenBundle::open(Path::new("."))?;
    let config = settings(Path::new(CONFIG_DIR))?;
    let Some(network) = network(&bundle.spec, &config) else { return Ok(()) };
    let id = id(call, &bundle)?;
    let is_ahead = is_wired_ahead(&bundle.spec, &network);
    let edit = if is_ahead { asking_for(network, &bundle.spec)? } else { edit(&bundle.spec, &network, log)? };
    bundle.spec.edit_for_good(&edit)?;
    let Some(request) = bundle.request(id, &config)? else { return Ok(()) };
    // Started before the attach, so that the service reports it.
    serve::ensure(Path::new(STATE_DIR), containerd(call).as_ref(), log);
    if is_ahead {
        return attach(bundle, &request, config, log);
    }
    // A container that joins a namespace may become a member of its owner's network. Then it gets no files of its own.
    if !matches!(request.namespace, NetworkNamespace::At(_)) {
        let mounts = files_to_fill(Path::new(STATE_DIR), &bundle.spec)?;
        bundle.spec.edit_for_good(&Edit { mounts, ..Edit::default() })?;
    }
    bundle.save()
}

fn asking_for(network: String, spec: &Document) -> Result<Edit> {
    let hostname = spec.wanted_hostname()?;
    Ok(Edit { annotations: vec![(Annotations::NETWORK, network)], hostname, ..Edit::default() })
}

/// Whether the network is wired before the container exists. If another tool would wire it too, or the namespace is not
/// the container's own, the hook does it and checks the namespace.
fn is_wired_ahead(spec: &Document, network: &str) -> bool {
    let is_its_own = network != "host" && !network.starts_with("container:");
    is_its_own && spec.can_be_wired_ahead() && !spec.is_left_to_others()
}

/// Attaches the container of the bundle, which does not exist yet.
fn attach(mut bundle: OpenBundle, request: &Request, config: Config, log: &Logger) -> Result<()> {
    let requester = requester(request)?;
    let mut engine = Engine::open(Path::new(STATE_DIR), config, log.clone())?;
    let attached = engine.attach_ahead(request, &requester).and_then(|edit| {
        let saved = bundle.spec.edit_for_good(&edit).map_err(Error::from).and_then(|()| bundle.save());
        saved.map_err(|error| error.after(engine.detach(&request.key())))
    });
    engine.close();
    attached
}

/// The calling containerd, which will call `delete` when the container is gone.
fn requester(request: &Request) -> Result<Requester> {
    let pid = parent_id().cast_signed();
    Ok(Requester { pid, started: kernel::process_start(pid)?, bundle: PathBuf::from(&request.bundle) })
}

/// The calling containerd, if the bundle is where containerd keeps all of them.
fn containerd(call: &Call) -> Option<Containerd> {
    let text = |value: Option<&OsStr>| value?.to_str().map(str::to_owned);
    // Since containerd 1.3 this names the socket for events, which need not be beside the socket of its API.
    let address = env::var_os("TTRPC_ADDRESS");
    let address = text(address.as_deref()).or_else(|| Some(text(call.address.as_deref())? + ".ttrpc"))?;
    Containerd::of_bundle(
        &env::current_dir().ok()?,
        &text(call.namespace.as_deref())?,
        &text(call.id.as_deref())?,
        address,
    )
}

/// The network that a container asks for, or gets because no other tool gives it one.
fn network(spec: &Document, config: &Config) -> Option<String> {
    let is_asked_for = spec.asks_for_us();
    // All containers of a pod have its annotations, but only its sandbox has the network.
    if spec.annotation(KIND).is_some_and(|kind| kind != "sandbox") {
        return None;
    }
    if !is_asked_for && (!spec.has_unwired_namespace() || spec.is_left_to_others()) {
        return None;
    }
    let network = spec.annotation(Annotations::NETWORK).or(config.default_network.as_deref());
    Some(network.unwrap_or("bridge").to_owned())
}

fn edit(spec: &Document, network: &str, log: &Logger) -> Result<Edit> {
    let hooks = Some(hook_command()?);
    // A container in a wired namespace, or in the host's, keeps it. The hook checks whether that matches the request.
    if !spec.has_unwired_namespace() {
        return Ok(Edit { hooks, ..Edit::default() });
    }
    let edit = edit_for(spec, network, || Engine::open_to_look(Path::new(STATE_DIR), Config::default(), log.clone()))?;
    Ok(Edit { hooks, hostname: spec.wanted_hostname()?.or(edit.hostname), ..edit })
}

/// The program that the runtime has to call: the one that was installed with this shim.
fn hook_command() -> Result<HookCommand> {
    let own = kernel::own_program()?;
    let beside = Path::new(&own).parent().into_iter();
    let folders = beside.chain(PLACES.into_iter().map(Path::new));
    let mut programs = folders.map(|folder| folder.join("ocinet"));
    let found = programs.find(|program| program.is_file()).map(PathBuf::into_os_string);
    match found.and_then(|program| program.into_string().ok()) {
        Some(program) => Ok(HookCommand { program, options: Vec::new() }),
        None => Err(Error::NotFound(format!("there is no ocinet beside {own}, nor in {}", PLACES.join(" or ")))),
    }
}

fn id(call: &Call, bundle: &OpenBundle) -> Result<ContainerId> {
    let id = call.id.as_deref().and_then(|id| id.to_str()).unwrap_or(bundle.name());
    Ok(id.parse().map_err(|error: Invalid| error.within("-id"))?)
}
