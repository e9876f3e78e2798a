//! The name server: its namespace, its port on each network whose containers have names, and its process.
//!
//! The namespace and the ports are made by the first attach to a network, and stay as its bridge does. The process is
//! there as long as an endpoint on such a network is in the store. An attach stores its endpoint, and then has the
//! process stay under [`Place::AgentNeed`]; the process ends only while it holds that alone and after a look at the
//! store.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::driver::{self, EndpointStep, NamesPort, SandboxStep};
use crate::engine::{Engine, Error, Result};
use crate::kernel::perform::{self, EndpointFault};
use crate::kernel::{self, Place};
use crate::model::{Network, NetworkName, Sandbox};
use crate::shell;

/// The program of the name server, in the folder of this one.
pub const AGENT: &str = "ocinet-agent";
/// Its socket for people and programs, in the state directory.
pub const AGENT_SOCKET: &str = "agent.sock";
/// The file in the state directory that its network namespace is bound to.
pub const NAMESPACE: &str = "names";

/// How long the name server may take to see that it is not needed any more, and to end.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Makes sure that the containers of `network` reach the name server, where they have names. Its bridge is there.
    pub(in crate::engine) fn ensure_names_port(&mut self, network: &Network) -> Result<()> {
        let Some(NamesPort { port, inside }) = driver::names_port(network) else { return Ok(()) };
        if perform::is_port_there(&mut self.links, &port)? {
            return Ok(());
        }
        self.make_names_port(&port, &inside)?;
        self.step("names");
        Ok(())
    }

    /// Makes the port of `network` as it was made, where it differs.
    pub(in crate::engine) fn restore_names_port(&mut self, network: &Network) -> Result<()> {
        let Some(NamesPort { port, inside }) = driver::names_port(network) else { return Ok(()) };
        self.make_names_port(&port, &inside)
    }

    fn make_names_port(&mut self, port: &EndpointStep, inside: &[SandboxStep]) -> Result<()> {
        match perform::endpoint_fault(&mut self.links, port)? {
            None => {}
            Some(EndpointFault::Missing) => {
                let _making = self.locks.exclusive(Place::Bridges)?;
                // Another process may have made it meanwhile.
                if perform::endpoint_fault(&mut self.links, port)? == Some(EndpointFault::Missing) {
                    let namespace = perform::names_namespace(&self.state_dir.join(NAMESPACE))?;
                    perform::connect_whole(&mut self.links, port, &namespace, inside)?;
                }
            }
            Some(_) => perform::rejoin(&mut self.links, port)?,
        }
        Ok(())
    }

    /// Makes sure that the name server runs, where one of `networks` has names. Their endpoints are in the store.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(in crate::engine) fn ensure_agent<'n>(
        &mut self,
        mut networks: impl Iterator<Item = &'n NetworkName>,
    ) -> Result<()> {
        if !networks.any(driver::has_names) {
            return Ok(());
        }
        let _stays = self.locks.shared(Place::AgentNeed)?;
        if !self.agent_answers() {
            self.start_agent()?;
        }
        self.step("agent");
        Ok(())
    }

    /// What [`Engine::ensure_names_port`] and [`Engine::ensure_agent`] would do for a container on `network`, as
    /// commands that come after `others`.
    pub(in crate::engine) fn names_commands(&mut self, network: &Network, others: &[String]) -> Result<Vec<String>> {
        let Some(port) = driver::names_port(network) else { return Ok(Vec::new()) };
        let path = self.state_dir.join(NAMESPACE);
        let mut commands = Vec::new();
        let is_new = |commands: &[String]| !commands.iter().any(|command| others.contains(command));
        if perform::endpoint_fault(&mut self.links, &port.port)? == Some(EndpointFault::Missing) {
            let namespace = shell::names_namespace(&path);
            if !perform::is_names_namespace(&path) && is_new(&namespace) {
                commands.extend(namespace);
            }
            commands.extend(shell::names_port(&path, &port));
        }
        if !self.agent_answers() {
            let program = shell::word(&self.agent_program()?.to_string_lossy());
            let start = [format!("{program} --state-dir {}", shell::word(&text(&self.state_dir)?))];
            commands.extend(start.into_iter().filter(|start| !others.contains(start)));
        }
        Ok(commands)
    }

    /// Takes the port of `network` away, and the namespace where no other of `networks` has a port in it. The caller
    /// holds the lock of the bridges.
    pub(in crate::engine) fn remove_names_port(&mut self, network: &Network, networks: &[Network]) -> Result<()> {
        let Some(NamesPort { port, .. }) = driver::names_port(network) else { return Ok(()) };
        perform::remove_port(&mut self.links, &port)?;
        if !networks.iter().any(|other| other.name != network.name && driver::has_names(&other.name)) {
            perform::remove_names_namespace(&self.state_dir.join(NAMESPACE))?;
        }
        Ok(())
    }

    /// Starts the name server where containers need it and it has ended.
    pub(in crate::engine) fn revive_agent(&mut self) -> Result<()> {
        let sandboxes = self.store.read().sandboxes()?;
        self.ensure_agent(sandboxes.iter().flat_map(Sandbox::wired_endpoints).map(|endpoint| &endpoint.network))
    }

    /// Waits until the name server has ended, which it does without endpoints that have names, and removes the socket
    /// that one which was killed left.
    pub(in crate::engine) fn await_end_of_agent(&self) -> Result<()> {
        let began = Instant::now();
        while self.locks.is_held(Place::Agent) {
            if began.elapsed() > PATIENCE {
                let why = format!("the name server ({AGENT}) does not end; stop it, and try again");
                return Err(Error::Kernel(kernel::Error::Deadline(why)));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(kernel::remove_socket(&self.state_dir.join(AGENT_SOCKET))?)
    }

    /// Whether the name server runs and answers.
    pub(in crate::engine) fn agent_answers(&self) -> bool {
        let answers = || kernel::is_listened_to(&self.state_dir.join(AGENT_SOCKET)).unwrap_or(false);
        self.locks.is_held(Place::Agent) && answers()
    }

    fn agent_program(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(kernel::own_program()?).with_file_name(AGENT))
    }

    /// It returns once the name server answers.
    fn start_agent(&self) -> Result<()> {
        let program = self.agent_program()?;
        if !program.exists() {
            return Err(Error::Kernel(kernel::Error::Program(format!(
                "{} is missing, without which containers on networks of one's own do not find each other; install it there",
                program.display()
            ))));
        }
        let (state_dir, config_dir) = (text(&self.state_dir)?, text(&self.config.directory)?);
        let arguments = ["--state-dir", &state_dir, "--config-dir", &config_dir];
        Ok(kernel::start_resident(&program, &arguments)?)
    }
}

fn text(path: &Path) -> Result<String> {
    let absolute =
        std::path::absolute(path).map_err(|error| kernel::Error::refused(format!("find {}", path.display()), error))?;
    Ok(absolute.to_string_lossy().into_owned())
}
