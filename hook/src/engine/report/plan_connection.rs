//! The look before a connect.

use std::path::Path;
use std::slice;

use slog::{Logger, warn};

use super::Plan;
use super::plan::{HostWork, define_anew};
use crate::decide::joined;
use crate::decide::request::EndpointRequest;
use crate::engine::removal::{arrange, hold_back, moved_routes, targets_left};
use crate::engine::sandbox::{LeaseConflict, add_endpoint};
use crate::engine::{Engine, Error, Result};
use crate::firewall::moved_ports;
use crate::input::config::Config;
use crate::kernel::{self, Netns};
use crate::model::{Network, Sandbox};
use crate::shell::{self, fed, word};

/// What a connect would make of a sandbox.
struct Rehearsed {
    /// With the new endpoint, to which nothing leads yet.
    added: Sandbox,
    /// With what leads to it.
    arranged: Sandbox,
    network: Network,
}

impl Engine {
    /// What connecting the container that runs and is called `container` as `request` asks would do. Nothing is changed,
    /// nothing leased.
    ///
    /// # Errors
    /// Those that the connect would meet.
    pub fn plan_connection(
        state_dir: &Path,
        config: Config,
        log: Logger,
        container: &str,
        request: &EndpointRequest,
    ) -> Result<Plan> {
        let mut engine = Self::open_to_plan(state_dir, config, log)?;
        let (before, netns) = engine.seen_running(container)?;
        let Rehearsed { added, mut arranged, network } = engine.rehearse_connection(&before, request, &netns)?;
        let held = engine.held_back(&before, &arranged)?;
        held.iter().for_each(|one| warn!(engine.log, "{}", one.told(before.container.as_str())));
        hold_back(&mut arranged, &held);
        let networks = slice::from_ref(&network);
        let unpublished = Sandbox { publish: Vec::new(), ..arranged.clone() };
        let mut work = HostWork::default();
        engine.plan_firewall(&unpublished, networks, &mut work)?;
        let alone = Sandbox { endpoints: added.endpoints.last().cloned().into_iter().collect(), ..added.clone() };
        engine.plan_wires(&alone, networks, &mut work)?;
        let HostWork { mut commands, new } = work;
        commands.extend(shell::in_sandbox(&moved_routes(&before, &arranged)));
        commands.extend(engine.commands_for_moved_ports(&before, &arranged)?);
        let mut files = Vec::new();
        if let Some((path, text)) = engine.moved_hosts(&before, &arranged)? {
            files.push("/etc/hosts".to_owned());
            commands.push(fed(&format!("cat >{}", word(&path.to_string_lossy())), &text));
        }
        Ok(Plan { sandbox: arranged, commands, files, new, is_attached: true })
    }

    /// Leases in a transaction of which nothing is kept.
    fn rehearse_connection(
        &mut self,
        sandbox: &Sandbox,
        request: &EndpointRequest,
        netns: &Netns,
    ) -> Result<Rehearsed> {
        let declared = self.declared(&request.network)?;
        let new = self.networks_to_define(slice::from_ref(request), slice::from_ref(&declared))?;
        let mtu = self.links.uplink()?.map(|uplink| uplink.mtu);
        let taken = kernel::taken_in(netns, &joined::further_names(request, declared.network()))?;
        let rehearsed = self.store.rehearse(|store| {
            define_anew(store, &new)?;
            let (added, network) = add_endpoint(store, sandbox.number, request, &declared, mtu, 0, &taken)?;
            let mut arranged = added.clone();
            arrange(store, &mut arranged)?;
            Ok::<_, LeaseConflict>(Rehearsed { added, arranged, network })
        });
        rehearsed.map_err(|conflict| match conflict {
            LeaseConflict::Draining(_) => {
                let why = "just left a network, and its link is not gone yet; try again";
                Error::Conflict(format!("container {} {why}", sandbox.container))
            }
            conflict => self.refusal(conflict, &sandbox.container, &[]),
        })
    }

    /// What leads the published ports of `before` to where they are in `after`.
    fn commands_for_moved_ports(&mut self, before: &Sandbox, after: &Sandbox) -> Result<Vec<String>> {
        let [old, new] = moved_ports(before, after);
        if old.is_empty() && new.is_empty() {
            return Ok(Vec::new());
        }
        let row = self.store.read().host_row()?;
        let (kind, base) = (self.rules.keeper.kind_of(&row)?, self.rules.base(&row, &mut self.links)?);
        let mut commands: Vec<String> = old.iter().flat_map(|port| shell::no_port(kind, port, &base)).collect();
        commands.extend(new.iter().flat_map(|port| shell::port(kind, port, &base)));
        commands.extend(targets_left(before, after).into_iter().map(shell::no_flows));
        Ok(commands)
    }
}
