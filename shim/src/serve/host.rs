//! The functions of the interface, one for each call. They block, and may run in parallel, as hooks do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use ocinet::decide::request::Request;
use ocinet::engine::{
    Definitions, Engine, Kept, Lifetime, NetworkView, Outcome, Result, bundle_of, not_attached, settings,
};
use ocinet::input::State;
use ocinet::input::config::Config;
use ocinet::input::network_file;
use ocinet::model::{Invalid, Key, Sandbox};
use ocinet_proto::protobuf::Message;
use ocinet_proto::v1::*;
use serde_json::json;
use slog::{Drain, Duplicate, Level, Logger, Never, OwnedKVList, o};

use crate::convert;

/// The most containers in one answer.
const PAGE: u32 = 1000;

/// About the size at which a page is full, far below the 4 MiB that a message may have.
const PAGE_BYTES: u64 = 1 << 20;

/// The host that is served.
pub struct Host {
    /// Where its store is.
    pub state_dir: PathBuf,
    /// Where its config.toml is.
    pub config_dir: PathBuf,
    pub log: Logger,
}

impl Host {
    pub fn attach(&self, request: AttachRequest) -> Result<AttachResponse> {
        let AttachRequest { id, bundle, pid, annotations, .. } = request;
        let state = json!({ "id": id, "bundle": bundle, "pid": pid, "annotations": annotations });
        let state = State::parse(state.to_string().as_bytes())?;
        let spec = bundle_of(&state)?;
        let config = settings(&self.config_dir)?;
        let mut response = AttachResponse::new();
        let Some(request) = Request::new(&state, &spec, &config)? else {
            response.outcome = attach_response::Outcome::OUTCOME_NOTHING_ASKED.into();
            return Ok(response);
        };
        let pid = state.live_pid()?;
        let (heard, log) = self.heard();
        let log = log.new(o!("container" => id, "network" => request.wiring.to_string()));
        let mut engine = Engine::open(&self.state_dir, config, log)?;
        let outcome = engine.attach(&request, pid);
        engine.close();
        let outcome = outcome?;
        let (word, sandbox) = match &outcome {
            Outcome::Attached(sandbox) => (attach_response::Outcome::OUTCOME_ATTACHED, sandbox),
            Outcome::Stands(sandbox) => (attach_response::Outcome::OUTCOME_STANDS, sandbox),
            Outcome::Member(owner) => (attach_response::Outcome::OUTCOME_MEMBER, owner),
        };
        response.outcome = word.into();
        response.container = Some(convert::container(sandbox)).into();
        response.warnings = heard.take();
        Ok(response)
    }

    pub fn detach(&self, request: DetachRequest) -> Result<DetachResponse> {
        let DetachRequest { id, bundle, .. } = request;
        let state = State::parse(json!({ "id": id, "bundle": bundle }).to_string().as_bytes())?;
        let log = self.log.new(o!("container" => id));
        if let Some(mut engine) = Engine::open_used(&self.state_dir, Config::unread(&self.config_dir), log)? {
            let detached = engine.detach(&Key::new(&state.id, &state.bundle));
            engine.close();
            detached?;
        }
        Ok(DetachResponse::new())
    }

    pub fn inspect(&self, request: &InspectRequest) -> Result<InspectResponse> {
        let sandboxes = match self.engine()? {
            Some(mut engine) => engine.sandboxes_of(&request.container)?,
            None => return Err(not_attached(&request.container, &[])),
        };
        let containers = sandboxes.iter().map(convert::container).collect();
        Ok(InspectResponse { containers, ..Default::default() })
    }

    pub fn list(&self, request: &ListRequest) -> Result<ListResponse> {
        let count = if request.limit == 0 { PAGE } else { request.limit.min(PAGE) };
        let sandboxes = match self.engine()? {
            Some(mut engine) if request.all => engine.all_after(request.after, count)?,
            Some(mut engine) => engine.sandboxes_after(request.after, count)?,
            None => Vec::new(),
        };
        let mut response = ListResponse::new();
        let mut last = None;
        let taken = page(&sandboxes, &mut response.containers, &mut last);
        let is_whole = taken == sandboxes.len() && sandboxes.len() < count as usize;
        response.next = last.filter(|_| !is_whole).unwrap_or(0);
        Ok(response)
    }

    pub fn list_networks(&self) -> Result<ListNetworksResponse> {
        let networks = self.networks()?.iter().map(convert::network).collect();
        Ok(ListNetworksResponse { networks, ..Default::default() })
    }

    pub fn inspect_network(&self, request: &InspectNetworkRequest) -> Result<InspectNetworkResponse> {
        let views = self.networks()?;
        let view = NetworkView::find(&views, &request.name)?;
        let mut response = InspectNetworkResponse::new();
        response.network = Some(convert::network(view)).into();
        page(&view.sandboxes, &mut response.containers, &mut None);
        Ok(response)
    }

    pub fn create_network(&self, request: CreateNetworkRequest) -> Result<CreateNetworkResponse> {
        let lifetime = if request.runtime { Lifetime::ThisBoot } else { Lifetime::Lasting };
        let name = network_file::definable(&request.name)?;
        let draft = convert::draft(request)?;
        let (heard, log) = self.heard();
        self.definitions().create(self.engine()?, &settings(&self.config_dir)?, name.clone(), draft, lifetime, &log)?;
        let mut response = CreateNetworkResponse::new();
        response.network = Some(convert::network(NetworkView::find(&self.networks()?, name.as_str())?)).into();
        response.warnings = heard.take();
        Ok(response)
    }

    pub fn remove_network(&self, request: &RemoveNetworkRequest) -> Result<RemoveNetworkResponse> {
        let name = network_file::definable(&request.name)?;
        let definitions = self.definitions();
        if !definitions.exists(&name)? {
            // It says what there is instead.
            NetworkView::find(&self.networks()?, name.as_str())?;
        }
        definitions
            .remove(Engine::open_used(&self.state_dir, Config::unread(&self.config_dir), self.log.clone())?, &name)?;
        Ok(RemoveNetworkResponse::new())
    }

    pub fn connect(&self, request: ConnectRequest) -> Result<ConnectResponse> {
        let wanted = convert::connection(&request)?;
        let (heard, log) = self.heard();
        let opened = Engine::open_used(&self.state_dir, settings(&self.config_dir)?, log)?;
        let Some(mut engine) = opened else { return Err(not_attached(&request.container, &[])) };
        let kept = if request.once { Kept::Once } else { Kept::OverRestarts };
        let connected = engine.connect(&request.container, &wanted, kept);
        engine.close();
        let container = Some(convert::container(&connected?)).into();
        Ok(ConnectResponse { container, warnings: heard.take(), ..Default::default() })
    }

    pub fn disconnect(&self, request: &DisconnectRequest) -> Result<DisconnectResponse> {
        let network = request.network.parse().map_err(|error: Invalid| error.within("network"))?;
        let (heard, log) = self.heard();
        let opened = Engine::open_used(&self.state_dir, Config::unread(&self.config_dir), log)?;
        let Some(mut engine) = opened else { return Err(not_attached(&request.container, &[])) };
        let disconnected = engine.disconnect(&request.container, &network);
        engine.close();
        disconnected.map(|()| DisconnectResponse { warnings: heard.take(), ..Default::default() })
    }

    pub fn check(&self) -> Result<CheckResponse> {
        let engine = Engine::open_to_look(&self.state_dir, settings(&self.config_dir)?, self.log.clone())?;
        let findings = engine.map_or(Ok(Vec::new()), |mut engine| {
            let findings = engine.examine();
            engine.close();
            findings
        })?;
        let findings = findings.iter().map(convert::finding).collect();
        Ok(CheckResponse { findings, ..Default::default() })
    }

    fn networks(&self) -> Result<Vec<NetworkView>> {
        NetworkView::all(self.engine()?.as_mut(), &self.definitions(), || settings(&self.config_dir), &self.log)
    }

    fn definitions(&self) -> Definitions {
        Definitions::of(&Config::unread(&self.config_dir), &self.state_dir)
    }

    /// A log that also collects its warnings, for the answer.
    fn heard(&self) -> (Heard, Logger) {
        let heard = Heard::default();
        let log = Logger::root(Duplicate(self.log.clone(), heard.clone()).ignore_res(), o!());
        (heard, log)
    }

    /// The engine for calls that only look. They need no settings. `None` on an unused host.
    fn engine(&self) -> Result<Option<Engine>> {
        Engine::open_to_look(&self.state_dir, Config::unread(&self.config_dir), self.log.clone())
    }
}

/// Takes `sandboxes` until a page is full. Returns how many were taken; `last` is the number of the last.
fn page(sandboxes: &[Sandbox], containers: &mut Vec<Container>, last: &mut Option<i64>) -> usize {
    let mut bytes = 0;
    for (index, sandbox) in sandboxes.iter().enumerate() {
        if bytes > PAGE_BYTES || containers.len() == PAGE as usize {
            return index;
        }
        *last = Some(sandbox.number);
        let container = convert::container(sandbox);
        bytes += container.compute_size();
        containers.push(container);
    }
    sandboxes.len()
}

/// Collects the warnings that the hook would have printed.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drain for Heard {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &slog::Record<'_>, _: &OwnedKVList) -> std::result::Result<(), Never> {
        if record.level() == Level::Warning {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.msg().to_string());
        }
        Ok(())
    }
}
