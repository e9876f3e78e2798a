use std::path::PathBuf;

use slog::info;

use crate::decide::liveness::Life;
use crate::driver::{self, Setting};
use crate::engine::files;
use crate::engine::files::CONTAINERS;
use crate::engine::locks::{alone_at, alone_at_firewall};
use crate::engine::rules::forward_no_more;
use crate::engine::{Engine, Error, Failures, Member, NAMESPACE, Result};
use crate::firewall::Kind;
use crate::kernel::{self, Place, perform};
use crate::model::{Alias, ChangedSetting, Key, Sandbox, State};
use crate::store::{Store, Writing};

/// What a reset took off the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reset {
    /// The containers that were cut off, or had left something.
    pub containers: Vec<String>,
    /// The containers that shared the network of one of these, and run.
    pub members: Vec<String>,
    /// What the endpoints of networks shared, as messages name it: `bridge ocinet0`.
    pub shared: Vec<String>,
    /// The firewalls that kept the rules.
    pub firewalls: Vec<Kind>,
    /// The firewalls of other programs from which our pass was removed.
    pub passes: Vec<String>,
    /// The settings of IP forwarding that we had switched on and that are off again, of each family by itself.
    pub forwarding_off: Vec<Vec<Setting>>,
    /// The settings of the host's links that have their earlier values again.
    pub put_back: Vec<ChangedSetting>,
    /// The chains that stay because the operator has rules in them.
    pub operators_chains: Vec<&'static str>,
    /// The socket of a service that runs, or that a service manager listens on for it: it stays.
    pub serving: Option<PathBuf>,
}

/// The service's socket, in the state directory.
pub const SERVICE_SOCKET: &str = "ocinet.sock";
/// The folder of the containerds that the service tells of their containers, in the state directory.
pub const CONTAINERDS: &str = "containerds";

impl Engine {
    /// Takes everything of ours off the host: links, rules, settings, files and the store. The lock file stays, since
    /// another process may be waiting for it.
    ///
    /// # Errors
    /// [`Error::Conflict`] while containers run, or may run, unless they are to be cut off; those of the kernel and the
    /// store.
    pub fn reset(&mut self, cut_off: bool) -> Result<Reset> {
        self.adopt()?;
        if !cut_off {
            self.refuse_while_attached()?;
        }
        let mut reset = Reset::default();
        let mut failures = Failures::default();
        let members = failures.note("containers that share a network", self.members())?.unwrap_or_default();
        for sandbox in self.sandboxes()? {
            let result = self.reset_container(&sandbox, cut_off);
            if let Some(()) = failures.note(format!("container {}", sandbox.container), result)? {
                reset.containers.push(sandbox.container.to_string());
                reset.members.extend(living_of(&sandbox, &members));
            }
        }
        for draining in self.store.read().all_draining()? {
            let result = self.await_drained(draining.endpoint.number);
            if let Some(()) = failures.note(format!("container {}", draining.container), result)? {
                reset.containers.push(draining.container.to_string());
            }
        }
        std::mem::take(&mut failures).into_result()?;
        self.await_end_of_agent()?;
        let _alone = alone_at_firewall(&self.locks)?;
        let _bridges = self.locks.exclusive(Place::Bridges)?;
        let writing = Writing::begin(&self.locks)?;
        // A question that has a lost store rebuilt would wait for the locks that are held here.
        let (sandboxes, draining) =
            self.store.read().at_one_moment(|store| Ok((store.sandboxes()?, store.all_draining()?)))?;
        if let Some(sandbox) = sandboxes.first() {
            return Err(Error::Conflict(format!("container {} was attached meanwhile; try again", sandbox.container)));
        }
        if let Some(draining) = draining.first() {
            return Err(Error::Conflict(format!("container {} is being detached; try again", draining.container)));
        }
        reset.forwarding_off = forward_no_more(&self.store)?;
        reset.put_back = self.answer_no_more()?;
        reset.shared = self.remove_shared()?;
        reset.passes = self.rules.passes.remove()?;
        for (kind, inventory) in kernel::loaded()? {
            kernel::backend(kind)?.unload()?;
            reset.firewalls.push(kind);
            reset.operators_chains.extend(inventory.operators_chain);
        }
        self.links.delete_input_loop()?;
        files::collect(&self.files, &self.store, &self.locks, &mut failures)?;
        failures.into_result()?;
        self.files.remove_members()?;
        kernel::remove_if_empty(&self.state_dir.join(CONTAINERS));
        Store::remove(&self.state_dir, &self.host, &writing)?;
        reset.serving = self.remove_service_files()?;
        Ok(reset)
    }

    /// Removes what the endpoints of networks shared: of those in the store by their drivers' steps, and then the links
    /// of others, of which the kernel alone tells by their alias. Returns what it found, as messages name it.
    fn remove_shared(&mut self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        let networks = self.store.read().networks()?;
        for network in &networks {
            self.remove_names_port(network, &[])?;
        }
        for step in self.store.read().networks()?.iter().flat_map(driver::undo_of_network) {
            if perform::undo_network(&mut self.links, &step)? {
                removed.push(step.to_string());
            }
        }
        for link in self.links.all_ours()? {
            match link.alias {
                Alias::Network(_) => removed.push(format!("bridge {}", link.name)),
                Alias::Names(_) => {}
                Alias::InputLoop | Alias::Endpoint { .. } | Alias::Draining { .. } => continue,
            }
            self.links.delete(link.index)?;
        }
        perform::remove_names_namespace(&self.state_dir.join(NAMESPACE))?;
        Ok(removed)
    }

    fn reset_container(&mut self, listed: &Sandbox, cut_off: bool) -> Result<()> {
        info!(self.log, "resetting"; "container" => %listed.container);
        // It may have been attached meanwhile, or detached.
        let Some((sandbox, _worker)) = alone_at(&self.locks, &self.store, listed)? else { return Ok(()) };
        if !cut_off && self.may_run(&sandbox) {
            return Err(Error::Conflict("was attached meanwhile; stop it, or say --force".into()));
        }
        self.take_away(sandbox)
    }

    /// Whether a container is attached, and not proved to be dead.
    fn may_run(&mut self, sandbox: &Sandbox) -> bool {
        sandbox.state == State::Attached && self.life(sandbox) != Life::Dead
    }

    /// Removes what a service left. While one runs, or could be started by a connection, all of it stays: the answer is
    /// its socket then.
    fn remove_service_files(&self) -> Result<Option<PathBuf>> {
        let socket = self.state_dir.join(SERVICE_SOCKET);
        let alone = self.locks.attempt(Place::Service)?;
        if alone.is_none() || kernel::is_listened_on(&socket)? {
            return Ok(Some(socket));
        }
        kernel::remove_socket(&socket)?;
        let folder = self.state_dir.join(CONTAINERDS);
        for name in kernel::names_in(&folder)? {
            // Other files are not ours.
            if name.parse::<Key>().is_ok() {
                kernel::remove_file(&folder.join(name))?;
            }
        }
        kernel::remove_if_empty(&folder);
        Ok(None)
    }

    fn refuse_while_attached(&mut self) -> Result<()> {
        let (mut attached, members) = (Vec::new(), self.members()?);
        for sandbox in self.sandboxes()? {
            if self.may_run(&sandbox) {
                attached.push(sandbox.container.to_string());
                attached.extend(living_of(&sandbox, &members));
            }
        }
        if attached.is_empty() {
            return Ok(());
        }
        let (number, names) = (attached.len(), attached.iter().take(5).cloned().collect::<Vec<_>>().join(", "));
        let more = if number > 5 { ", ..." } else { "" };
        Err(Error::Conflict(format!(
            "containers that run would lose their network, {number} in all ({names}{more}); stop them, or say --force"
        )))
    }
}

/// Those of `members` that are in the network of `sandbox` and may run.
fn living_of(sandbox: &Sandbox, members: &[(Member, Option<bool>)]) -> impl Iterator<Item = String> {
    let may_run = |(member, alive): &&(Member, Option<bool>)| *alive != Some(false) && member.is_of(sandbox);
    members.iter().filter(may_run).map(|(member, _)| member.container.to_string())
}
