//! Editing a bundle before there is a container, so that its runtime calls ocinet and gives it the namespace that it
//! asks for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::decide::files::File;
use crate::decide::ipam;
use crate::decide::request::{Request, Wiring};
use crate::engine::network::{Definitions, no_such};
use crate::engine::{Engine, Error, Result, not_attached};
use crate::input::config::{self, Config};
use crate::input::{Annotations, Bundle, State};
use crate::kernel::{self, Replaceable};
use crate::model::{ContainerId, Invalid};
use crate::spec::{Document, Edit, FileMount, Placement};

/// A bundle whose config.json is to be changed, locked against other processes of ocinet.
pub struct OpenBundle {
    /// The specification; what becomes of it is written by [`OpenBundle::save`].
    pub spec: Document,
    directory: String,
    /// The directory as the caller calls it.
    shown: String,
    file: Replaceable,
    json: Vec<u8>,
}

impl OpenBundle {
    /// Opens the bundle in `directory`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no bundle, or its config.json is none that we could change safely.
    pub fn open(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        let path = directory.canonicalize();
        let path = path.map_err(|error| refusal(directory, kernel::Error::refused("open", error)))?;
        let Some(text) = path.to_str() else { return Err(Invalid::new("bundle", &shown, "is not UTF-8").into()) };
        let open = Replaceable::open(&path, "config.json", Bundle::MAX_BYTES);
        let (file, json) = open.map_err(|error| refusal(directory, error))?;
        let spec = Document::parse(&json, &path.join("config.json").to_string_lossy())?;
        Ok(Self { spec, directory: text.to_owned(), shown, file, json })
    }

    /// The directory's name, which is the id of a container that has no other.
    pub fn name(&self) -> &str {
        Path::new(&self.directory).file_name().and_then(|name| name.to_str()).unwrap_or("bundle")
    }

    /// The request that the hook will read from the edited bundle of the container `id`. What the hook would refuse is
    /// refused here.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the annotation or field and its value.
    pub fn request(&self, id: ContainerId, config: &Config) -> Result<Option<Request>> {
        let edited = Bundle::parse(&self.spec.to_json(), &self.shown)?;
        let state = State { id, pid: 0, bundle: self.directory.clone(), annotations: HashMap::new() };
        Ok(Request::new(&state, &edited, config)?)
    }

    /// Refuses a request that names a network which does not exist, or asks for an address that no container of it can
    /// have, as the hook would. The range of the default network may not be chosen yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the network or the address; others where a definition cannot be read.
    pub fn check_networks(request: &Request, definitions: &Definitions) -> Result<()> {
        let Wiring::Networks { connections, .. } = &request.wiring else { return Ok(()) };
        for one in connections.iter().filter(|one| one.network != config::default_bridge()) {
            let Some(definition) = definitions.read(&one.network)? else {
                return Err(no_such(&one.network, &definitions.sound()?));
            };
            let Some(network) = definition.network() else { continue };
            let checked = one.addresses.iter().try_for_each(|wanted| ipam::subnet_for(&network, *wanted).map(drop));
            checked.map_err(|e| e.within("annotation io.ocinet.network"))?;
        }
        Ok(())
    }

    /// Whether ports are asked for, and each network of the request is internal, so that they lead nowhere.
    ///
    /// # Errors
    /// Where a definition cannot be read.
    pub fn has_dormant_ports(request: &Request, definitions: &Definitions) -> Result<bool> {
        let Wiring::Networks { connections, publish, .. } = &request.wiring else { return Ok(false) };
        for one in connections {
            let definition =
                if one.network == config::default_bridge() { None } else { definitions.read(&one.network)? };
            if definition.is_none_or(|definition| !definition.options.internal) {
                return Ok(false);
            }
        }
        Ok(!publish.is_empty())
    }

    /// Writes config.json, where anything in it has changed.
    ///
    /// # Errors
    /// When it cannot be written; then it is as it was.
    pub fn save(self) -> Result<()> {
        let edited = self.spec.to_json();
        if edited == self.json {
            return Ok(());
        }
        self.file.replace(&edited).map_err(|error| refusal(Path::new(&self.directory), error))
    }
}

/// A failure to read or write the bundle is an error of the input.
fn refusal(bundle: &Path, error: kernel::Error) -> Error {
    let Some(code) = error.errno() else { return error.into() };
    let why = match Errno::from_raw(code) {
        Errno::ENOTDIR => "is not a directory".to_owned(),
        Errno::ENOENT if bundle.exists() => "has no config.json".to_owned(),
        Errno::ENOENT => "does not exist".to_owned(),
        errno => format!("cannot be edited: {}", errno.desc()),
    };
    Invalid::new("bundle", bundle.display(), why).into()
}

/// What becomes of a spec whose container is to be wired as `network` says. A container to be joined must be running;
/// the engine of this host, where it was used, is opened for it alone.
///
/// # Errors
/// As [`Engine::netns_owner`].
pub fn edit_for(spec: &Document, network: &str, engine: impl FnOnce() -> Result<Option<Engine>>) -> Result<Edit> {
    let annotated = |network: String| vec![(Annotations::NETWORK, network)];
    let Some(owner) = network.strip_prefix("container:") else {
        let placement = if network == "host" { Placement::Host } else { Placement::Own };
        return Ok(Edit { network: Some(placement), annotations: annotated(network.to_owned()), ..Edit::default() });
    };
    let field = format!("annotation {}", Annotations::NETWORK);
    let id: ContainerId = owner.parse().map_err(|e: Invalid| e.within(&field))?;
    let owner = match engine()? {
        Some(mut engine) => engine.netns_owner(&id)?,
        None => return Err(not_attached(id.as_str(), &[])),
    };
    let hostname = owner.hostname.filter(|_| spec.has_namespace("uts"));
    Ok(Edit {
        network: Some(Placement::At(owner.namespace)),
        annotations: annotated(format!("container:{}", owner.sandbox.container)),
        hostname: hostname.and_then(|name| name.parse().ok()),
        mounts: owner.files.into_iter().map(mount).collect(),
        hooks: None,
    })
}

fn mount((file, source): (File, PathBuf)) -> FileMount {
    FileMount { source, destination: Path::new("/etc").join(file.name()) }
}
