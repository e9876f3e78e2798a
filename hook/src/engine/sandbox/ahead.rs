//! Attaching before there is a container: its network namespace is made and wired, and its runtime puts it there.
//!
//! For a caller that edits the spec anyway. The container starts with two processes less, and its runtime makes no
//! pipes, waits for no hook and sends no state.

use std::path::Path;

use super::attach::AttachTarget;
use super::conflict::in_use;
use crate::decide::files::File;
use crate::decide::identity::HostNameSource;
use crate::decide::liveness::Life;
use crate::decide::request::Request;
use crate::engine::locks::alone_at_sandbox;
use crate::engine::{Engine, Outcome, Result};
use crate::kernel;
use crate::model::{Key, Mode, NetnsLocator, Requester, Sandbox};
use crate::spec::{Edit, FileMount, Placement};

impl Engine {
    /// Makes a network namespace for a container that does not exist yet, wires it as `request` asks, and returns how
    /// its spec leads there. `requester` is the engine that will run it, and have it detached.
    ///
    /// # Errors
    /// As [`Engine::attach`]. A container of the same key must not be running any more.
    pub fn attach_ahead(&mut self, request: &Request, requester: &Requester) -> Result<Edit> {
        if request.wiring.mode() == Mode::Networks {
            self.links.permitted()?;
        }
        self.be_ready_for(request)?;
        let _alone = alone_at_sandbox(&self.locks, &request.key())?;
        let outcome = self.with_whole_store(|engine, _| engine.attach_made(request, requester))?;
        self.tell(&outcome, request);
        Ok(self.edit_into(request))
    }

    fn attach_made(&mut self, request: &Request, requester: &Requester) -> Result<Outcome> {
        let key = request.key();
        self.make_way(&key)?;
        let directory = self.files.of(&key);
        let (netns, cookie) = kernel::make_namespace(&directory)?;
        let locator = NetnsLocator::Made { path: kernel::namespace_in(&directory), requester: Some(requester.clone()) };
        let namespace = self.seen_from_here(cookie, locator)?;
        self.step("namespace");
        let attached = self
            .identified(request, AttachTarget { netns, namespace, process: None })
            .and_then(|target| self.attach_under_a_free_name(request, &target));
        if attached.is_err() {
            // Where no sandbox was stored.
            self.warn_of(kernel::remove_files(&directory));
        }
        attached
    }

    /// Detaches what is left of an earlier container of that key. Its requester lives, but asks for a new one.
    fn make_way(&mut self, key: &Key) -> Result<()> {
        if let Some(earlier) = self.store.read().find(key)? {
            let life = self.life(&without_requester(&earlier));
            if life != Life::Dead {
                return Err(in_use(&earlier, &life));
            }
        }
        self.detach_found(key)
    }

    /// The edit of the spec of a container that was attached ahead.
    fn edit_into(&self, request: &Request) -> Edit {
        let directory = self.files.of(&request.key());
        let hostname = match &request.identity.hostname {
            HostNameSource::Ours(name) => Some(name.clone()),
            HostNameSource::Spec(_) | HostNameSource::Host => None,
        };
        let mount = |file: &File| FileMount {
            source: directory.join(file.name()),
            destination: Path::new("/etc").join(file.name()),
        };
        Edit {
            network: Some(Placement::At(kernel::namespace_in(&directory))),
            mounts: request.root.files.iter().map(mount).collect(),
            hostname,
            ..Edit::default()
        }
    }
}

fn without_requester(sandbox: &Sandbox) -> Sandbox {
    let mut sandbox = sandbox.clone();
    if let NetnsLocator::Made { requester, .. } = &mut sandbox.namespace.locator {
        *requester = None;
    }
    sandbox
}
