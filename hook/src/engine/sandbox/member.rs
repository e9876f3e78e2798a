//! Containers that share another one's network: who that is, where its namespace is found, and what comes with it.

use std::path::PathBuf;

use slog::warn;

use super::attach::AttachTarget;
use super::outcome::{Lease, LeaseConflict, Leased};
use crate::decide::files::File;
use crate::decide::liveness::Sight;
use crate::decide::request::Request;
use crate::engine::files::Member;
use crate::engine::{Engine, Error, Result, alive, resolve};
use crate::input::NetworkNamespace;
use crate::kernel::{self, Netns};
use crate::model::{ContainerId, Invalid, Mode, Namespace, NetnsLocator, Sandbox, State};

/// The longest that our own file with a host name can be.
const MAX_HOSTNAME: usize = 256;

/// A living container whose network another one joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetnsOwner {
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// Where its network namespace is found, as long as it lives.
    pub namespace: PathBuf,
    /// The files that were made for it.
    pub files: Vec<(File, PathBuf)>,
    /// Its host name, where it has files.
    pub hostname: Option<String>,
}

impl Engine {
    /// Finds the one living container that [`Engine::sandboxes_of`] finds.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none or it does not run, [`Error::Conflict`] where there are several.
    pub fn netns_owner(&mut self, container: &ContainerId) -> Result<NetnsOwner> {
        let all = self.sandboxes()?;
        let meant = self.meant(container.as_str(), &all)?;
        let is_there = |sandbox: &&Sandbox| sandbox.state == State::Attached && alive::is_alive(&self.origin, sandbox);
        let living: Vec<&Sandbox> = meant.iter().filter(is_there).collect();
        match (&living[..], &meant[..]) {
            ([sandbox], _) => self.netns_owner_of(sandbox),
            ([], [sandbox, ..]) => Err(Error::NotFound(self.why_not_alive(sandbox))),
            ([], []) => Err(resolve::not_attached(container.as_str(), &all)),
            (several, _) => Err(resolve::ambiguous(container.as_str(), several)),
        }
    }

    /// Notes that the container shares the network of `owner`. Without the note it is in no list, and works all the same.
    pub(in crate::engine) fn note_member(
        &self,
        request: &Request,
        owner: &Sandbox,
        process: NetnsLocator,
        target: &AttachTarget,
    ) {
        let own = (request.container.clone(), request.bundle.clone(), request.identity.name.clone());
        let (container, bundle, name) = request.guest.clone().unwrap_or(own);
        let member = Member {
            container,
            name,
            bundle,
            owner: owner.container.clone(),
            owner_name: owner.name.clone(),
            owner_bundle: owner.bundle.clone(),
            since: kernel::now(),
            namespace: Namespace { locator: process, nsid: None, ..target.namespace.clone() },
        };
        if let Err(error) = self.files.note(&member) {
            warn!(self.log, "the container will not be listed with those that share a network: {error}");
        }
    }

    /// The containers that share another's network, and whether each lives; none where that cannot be told.
    ///
    /// # Errors
    /// When their folder cannot be read.
    pub fn members(&self) -> Result<Vec<(Member, Option<bool>)>> {
        let members = self.files.members()?.into_iter();
        Ok(members
            .map(|member| (member.is_alive(&self.origin), member))
            .map(|(alive, member)| (member, alive))
            .collect())
    }

    /// The membership that `request` asks for: the sandbox it is in must be that of `owner`.
    pub(in crate::engine) fn lease_membership(
        &mut self,
        request: &Request,
        namespace: &Namespace,
        owner: &ContainerId,
    ) -> Leased<Lease> {
        if let Some(sandbox) = self.store.read().find(&request.key())? {
            return Err(LeaseConflict::Earlier(sandbox.into()));
        }
        let wrong = |why: String| LeaseConflict::Failed(Invalid::new(FIELD, format!("container:{owner}"), why).into());
        let prepare = "run ocinet prepare on the bundle again";
        match self.store.read().find_by_cookie(namespace.cookie)? {
            Some(sandbox) if resolve::is_called(&sandbox, owner.as_str()) => Err(LeaseConflict::Owned(sandbox.into())),
            Some(other) => {
                let other = &other.container;
                Err(wrong(format!("is not whose network namespace this is; that is container {other}'s: {prepare}")))
            }
            None => {
                self.netns_owner(owner)?;
                Err(wrong(format!("is attached with another network namespace than this container's: {prepare}")))
            }
        }
    }

    /// Refuses a container that was to join another, and was made with a namespace of its own or with the host's.
    pub(in crate::engine) fn refuse_outsider(
        &mut self,
        request: &Request,
        owner: &ContainerId,
        is_hosts: bool,
    ) -> Result<()> {
        if matches!(request.namespace, NetworkNamespace::At(_)) && !is_hosts {
            return Ok(());
        }
        // What is wrong with the other one matters more.
        self.netns_owner(owner)?;
        let why = "needs that container's network namespace, and a hook cannot change a container's afterwards; \
                   ocinet prepare writes its path into linux.namespaces of config.json";
        Err(Invalid::new(FIELD, format!("container:{owner}"), why).into())
    }

    fn why_not_alive(&self, sandbox: &Sandbox) -> String {
        let container = &sandbox.container;
        if sandbox.state != State::Attached {
            return format!("container {container} is {}; try again when it runs", sandbox.state);
        }
        match Netns::look(&sandbox.namespace, &self.origin) {
            Sight::Hidden(why) | Sight::Failed(why) => format!("container {container} cannot be seen from here: {why}"),
            Sight::Alive(_) | Sight::Gone | Sight::Missing(_) => {
                format!("container {container} is not running any more")
            }
        }
    }

    fn netns_owner_of(&self, sandbox: &Sandbox) -> Result<NetnsOwner> {
        if sandbox.mode == Mode::Host {
            let why = "is in the host's network; ask for network host instead";
            return Err(Invalid::new(FIELD, format!("container:{}", sandbox.container), why).into());
        }
        let namespace = match &sandbox.namespace.locator {
            NetnsLocator::Path(path) | NetnsLocator::Made { path, .. } => path.clone(),
            NetnsLocator::Process { pid, .. } => PathBuf::from(format!("/proc/{pid}/ns/net")),
            NetnsLocator::Unseen => return Err(Error::NotFound(self.why_not_alive(sandbox))),
        };
        let directory = self.files.of(&sandbox.key());
        let files = File::ALL.into_iter().map(|file| (file, directory.join(file.name())));
        let files: Vec<_> = files.filter(|(_, path)| path.is_file()).collect();
        let hostname = match files.iter().find(|(file, _)| *file == File::HostName) {
            Some((_, path)) => kernel::read_regular(path, MAX_HOSTNAME)?,
            None => None,
        };
        let hostname = hostname.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        Ok(NetnsOwner { sandbox: sandbox.clone(), namespace, files, hostname })
    }
}

/// The annotation that all of this is about.
const FIELD: &str = "annotation io.ocinet.network";
