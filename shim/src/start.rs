//! `start`: the bundle is edited before there is a container.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use ocinet::config::Config;
use ocinet::engine::{Engine, Error, OpenBundle, Result, edit_for, settings};
use ocinet::kernel;
use ocinet::model::{ContainerId, Invalid};
use ocinet::oci::Annotations;
use ocinet::oci::edit::{Document, Edit, HookCommand};
use slog::Logger;

use crate::call::Call;
use crate::serve::{self, Containerd};
use crate::{CONFIG_DIR, STATE_DIR};

/// Where the program may be that the runtime is to call, if not beside this one.
const PLACES: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// Says which of a pod's containers one is (containerd, `internal/cri/annotations`).
const KIND: &str = "io.kubernetes.cri.container-type";

const HOSTNAME: &str = "io.ocinet.hostname";

/// Edits the bundle in the working directory as its annotations ask.
///
/// # Errors
/// When what they ask for cannot be; the bundle is as it was.
pub fn run(call: &Call, log: &Logger) -> Result<()> {
    let mut bundle = OpenBundle::open(Path::new("."))?;
    let config = settings(Path::new(CONFIG_DIR))?;
    let Some(network) = network(&bundle.spec, &config) else { return Ok(()) };
    let edit = edit(&bundle.spec, &network, log)?;
    bundle.spec.edit_for_good(&edit)?;
    bundle.request(id(call, &bundle)?, &config)?;
    bundle.save()?;
    serve::ensure(Path::new(STATE_DIR), containerd(call).as_ref(), log);
    Ok(())
}

/// Who calls, where it has our container's bundle where containerd has all of them.
fn containerd(call: &Call) -> Option<Containerd> {
    let text = |value: Option<&OsStr>| value?.to_str().map(str::to_owned);
    // Since containerd 1.3 it says where it takes events, which need not be beside the socket of its API.
    let address = env::var_os("TTRPC_ADDRESS");
    let address = text(address.as_deref()).or_else(|| Some(text(call.address.as_deref())? + ".ttrpc"))?;
    Containerd::of_bundle(
        &env::current_dir().ok()?,
        &text(call.namespace.as_deref())?,
        &text(call.id.as_deref())?,
        address,
    )
}

/// The network that a container asks for, or gets because nobody else gives it one.
fn network(spec: &Document, config: &Config) -> Option<String> {
    let is_asked_for = spec.asks_for_us();
    // All of a pod's containers carry its annotations, but one of them has the network.
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
    // Whoever has a wired namespace, or the host's, keeps it, and the hook says whether that is what was asked for.
    if !spec.has_unwired_namespace() {
        return Ok(Edit { hooks, ..Edit::default() });
    }
    let edit = edit_for(spec, network, || Engine::open_used(Path::new(STATE_DIR), Config::default(), log.clone()))?;
    let hostname = spec.annotation(HOSTNAME).filter(|_| spec.has_namespace("uts")).map(str::parse).transpose();
    let hostname = hostname.map_err(|error: Invalid| error.within(&format!("annotation {HOSTNAME}")))?;
    Ok(Edit { hooks, hostname: hostname.or(edit.hostname), ..edit })
}

/// The program that the runtime calls: the one that was installed with this.
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
