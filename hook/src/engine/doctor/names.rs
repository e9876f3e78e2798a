//! The name server: its process, and what is in its network namespace.

use super::Finding;
use crate::driver::{self, SandboxStep};
use crate::engine::{AGENT_SOCKET, Engine, Error, NAMESPACE, Result};
use crate::kernel::perform;
use crate::kernel::{self, Place};
use crate::shell;

const LACK: &str = "containers do not find each other by their names";

impl Engine {
    /// The name server of the networks in use, of which one has names.
    pub(super) fn examine_names(&mut self) -> Vec<Finding> {
        let looks = [("name server", self.examine_agent()), ("namespace of the name server", self.examine_inside())];
        let found = |(subject, look): (&str, Result<Option<Finding>>)| {
            look.unwrap_or_else(|error| Some(Finding::unexamined(subject, &error)))
        };
        looks.into_iter().filter_map(found).collect()
    }

    /// The process is asked: one that was stopped has its locks, and answers nothing.
    fn examine_agent(&self) -> Result<Option<Finding>> {
        let subject = "name server";
        if !self.agent_answers()? {
            return Ok(Some(Finding::ours(subject, format!("does not run: {LACK}"))));
        }
        let why = match kernel::ask_line(&self.state_dir.join(AGENT_SOCKET), "status") {
            Ok(Some(_)) => return Ok(None),
            Ok(None) => format!("its socket {AGENT_SOCKET} is gone"),
            Err(error) => error.to_string(),
        };
        let remedy = "end its processes, called ocinet-agent, with SIGKILL, and start another: ocinet gc";
        Ok(Some(Finding::yours(subject, format!("does not answer: {LACK} ({why})"), remedy)))
    }

    fn examine_inside(&mut self) -> Result<Option<Finding>> {
        let subject = "namespace of the name server";
        if self.is_whole_inside()? {
            return Ok(None);
        }
        // A port that an attach was making is whole by now.
        let _none_is_made = self.locks.shared(Place::Bridges)?;
        Ok(match self.undone_inside() {
            Err(Error::Kernel(kernel::Error::Busy(why))) => {
                Some(Finding::ours(subject, format!("is not there: {LACK} ({why})")))
            }
            undone => match undone?.as_slice() {
                [] => None,
                undone => {
                    let commands: Vec<String> = undone.iter().flat_map(shell::sandbox_step).collect();
                    let trouble =
                        format!("is not as it was made: it lacks what these would do: {}", commands.join("; "));
                    Some(Finding::ours(subject, trouble))
                }
            },
        })
    }

    /// What the namespace of the name server lacks, beside its ports.
    fn undone_inside(&mut self) -> Result<Vec<SandboxStep>> {
        let path = self.state_dir.join(NAMESPACE);
        // Where there is none, its ports are missing, and are examined with their networks.
        let Some(namespace) = perform::existing_names_namespace(&path)? else { return Ok(Vec::new()) };
        let mut steps = driver::names_namespace();
        for network in self.networks_in_use()? {
            if let Some(port) = driver::names_port(&network)
                && perform::is_port_there(&mut self.links, &port.port)?
            {
                steps.extend(port.inside);
            }
        }
        Ok(perform::undone(&namespace, &steps)?)
    }

    /// Removes the namespace where it is not as it was made. The next port is made in another, which the name server follows,
    /// so that what was changed in the old one need not be known.
    pub(super) fn renew_names_namespace(&mut self) -> Result<()> {
        if self.is_whole_inside()? {
            return Ok(());
        }
        // A port that an attach was making is whole by now.
        let _making = self.locks.exclusive(Place::Bridges)?;
        if self.is_whole_inside()? {
            return Ok(());
        }
        Ok(perform::remove_names_namespace(&self.state_dir.join(NAMESPACE))?)
    }

    fn is_whole_inside(&mut self) -> Result<bool> {
        match self.undone_inside() {
            Err(Error::Kernel(kernel::Error::Busy(_))) => Ok(false),
            undone => Ok(undone?.is_empty()),
        }
    }
}
