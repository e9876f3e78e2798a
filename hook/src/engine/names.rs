//! The name server: its namespace, its port on each network whose containers have names, and its process.
//!
//! The namespace and the ports are made by the first attach to a network, and stay as its bridge does. The process is
//! there as long as an endpoint on such a network is in the store. An attach stores its endpoint, and then has the
//! process stay under [`Place::AgentNeed`]; the process ends only while it holds that alone and after a look at the
//! store.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use slog::warn;

use crate::driver::{self, NamesPort};
use crate::engine::{Engine, Error, Result};
use crate::kernel::OurLink;
use crate::kernel::perform::{self, EndpointFault};
use crate::kernel::{self, Place};
use crate::model::{Alias, Endpoint, Network, Sandbox, State};
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
        let Some(NamesPort { port, .. }) = driver::names_port(network) else { return Ok(()) };
        if perform::is_names_namespace(&self.state_dir.join(NAMESPACE))?
            && perform::is_port_there(&mut self.links, &port)?
        {
            return Ok(());
        }
        self.restore_names_port(network)?;
        self.step("names");
        Ok(())
    }

    /// Makes the port of `network` as it was made, where it differs. Where its bridge is missing, who makes that makes the
    /// port after it.
    pub(in crate::engine) fn restore_names_port(&mut self, network: &Network) -> Result<()> {
        let Some(port) = driver::names_port(network) else { return Ok(()) };
        if !perform::has_bridge(&mut self.links, &port.port)? {
            return Ok(());
        }
        let path = self.state_dir.join(NAMESPACE);
        if perform::is_names_namespace(&path)? {
            match perform::endpoint_fault(&mut self.links, &port.port)? {
                None => return Ok(()),
                Some(EndpointFault::Missing) => {}
                Some(_) => return Ok(perform::rejoin(&mut self.links, &port.port)?),
            }
        }
        let _making = self.locks.exclusive(Place::Bridges)?;
        if !perform::is_names_namespace(&path)? {
            self.make_names_namespace(network)?;
        }
        self.make_names_port(&port)
    }

    /// Makes the namespace, and the ports of the other networks in use with it: those that they have are in another
    /// one, which ends with the process that is still in it. The caller holds the lock of the bridges.
    fn make_names_namespace(&mut self, network: &Network) -> Result<()> {
        let of_names = |link: &OurLink| matches!(link.alias, Alias::Names(_));
        for link in self.links.all_ours()?.into_iter().filter(of_names) {
            self.links.delete(link.index)?;
        }
        perform::names_namespace(&self.state_dir.join(NAMESPACE))?;
        for other in self.store.read().networks()?.iter().filter(|other| other.name != network.name) {
            let Some(port) = driver::names_port(other) else { continue };
            let made = perform::has_bridge(&mut self.links, &port.port)
                .map_err(Error::from)
                .and_then(|there| if there { self.make_names_port(&port) } else { Ok(()) });
            if let Err(error) = made {
                warn!(self.log, "network {} has no names: {error}", other.name);
            }
        }
        Ok(())
    }

    /// The caller holds the lock of the bridges, and another process may have made it before.
    fn make_names_port(&mut self, NamesPort { port, inside }: &NamesPort) -> Result<()> {
        if perform::endpoint_fault(&mut self.links, port)? == Some(EndpointFault::Missing) {
            let namespace = perform::names_namespace(&self.state_dir.join(NAMESPACE))?;
            perform::connect_whole(&mut self.links, port, &namespace, inside)?;
        }
        Ok(())
    }

    /// Makes sure that the name server runs, where one of `endpoints` needs it. They are in the store.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(in crate::engine) fn ensure_agent<'e>(
        &mut self,
        mut endpoints: impl Iterator<Item = &'e Endpoint>,
    ) -> Result<()> {
        if !endpoints.any(|endpoint| endpoint.name_server.is_some()) {
            return Ok(());
        }
        let _stays = self.locks.shared(Place::AgentNeed)?;
        if !self.agent_answers()? {
            self.have_agent_answer()?;
        }
        self.step("agent");
        Ok(())
    }

    /// What [`Engine::ensure_names_port`] and [`Engine::ensure_agent`] would make for a container on `network`, in words
    /// and as commands.
    pub(in crate::engine) fn missing_for_names(&mut self, network: &Network) -> Result<Vec<(String, Vec<String>)>> {
        let Some(port) = driver::names_port(network) else { return Ok(Vec::new()) };
        let path = self.state_dir.join(NAMESPACE);
        let mut missing = Vec::new();
        if perform::endpoint_fault(&mut self.links, &port.port)? == Some(EndpointFault::Missing) {
            if !perform::is_names_namespace(&path)? {
                missing.push(("network namespace of names".to_owned(), shell::names_namespace(&path)));
            }
            missing.push((format!("port of names on network {}", network.name), shell::names_port(&path, &port)));
        }
        if !self.agent_answers()? {
            let program = shell::word(&self.agent_program()?.to_string_lossy());
            let start = format!("{program} --state-dir {}", shell::word(&text(&self.state_dir)?));
            missing.push(("name server".to_owned(), vec![start]));
        }
        Ok(missing)
    }

    /// Takes the port of `network` away, and the namespace where no other of `networks` has a port in it. The caller
    /// holds the lock of the bridges.
    pub(in crate::engine) fn remove_names_port(&mut self, network: &Network, networks: &[Network]) -> Result<()> {
        let Some(NamesPort { port, .. }) = driver::names_port(network) else { return Ok(()) };
        perform::remove_port(&mut self.links, &port)?;
        if !networks.iter().any(|other| other.name != network.name && driver::has_names(other)) {
            perform::remove_names_namespace(&self.state_dir.join(NAMESPACE))?;
        }
        Ok(())
    }

    /// Makes the ports of networks in use, and starts the name server, where containers need it and something of it is
    /// missing.
    pub(in crate::engine) fn revive_agent(&mut self) -> Result<()> {
        let sandboxes = self.store.read().sandboxes()?;
        let asking: Vec<&Endpoint> = sandboxes
            .iter()
            .flat_map(Sandbox::wired_endpoints)
            // The bridge of one that is being attached may be missing yet, and its attach sees to its names.
            .filter(|endpoint| endpoint.name_server.is_some() && endpoint.state == State::Attached)
            .collect();
        if asking.is_empty() {
            return self.remove_stale_agent_socket();
        }
        for network in self.store.read().networks()? {
            if asking.iter().any(|endpoint| endpoint.network == network.name) {
                self.restore_names_port(&network)?;
            }
        }
        self.ensure_agent(asking.into_iter())
    }

    /// Waits until the name server has ended, which it does without endpoints that have names, and removes the socket
    /// that one which was killed left.
    pub(in crate::engine) fn await_end_of_agent(&self) -> Result<()> {
        let began = Instant::now();
        while self.locks.is_held(Place::Agent)? {
            if began.elapsed() > PATIENCE {
                let why = format!("the name server ({AGENT}) does not end; stop it, and try again");
                return Err(Error::Kernel(kernel::Error::Deadline(why)));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(kernel::remove_socket(&self.state_dir.join(AGENT_SOCKET))?)
    }

    /// Removes the socket that a name server which was killed left. An attach that starts another holds
    /// [`Place::AgentNeed`] meanwhile.
    fn remove_stale_agent_socket(&self) -> Result<()> {
        let Some(_alone) = self.locks.attempt(Place::AgentNeed)? else { return Ok(()) };
        if self.locks.is_held(Place::Agent)? {
            return Ok(());
        }
        Ok(kernel::remove_socket(&self.state_dir.join(AGENT_SOCKET))?)
    }

    /// Whether the name server answers in its namespace as that is by now.
    pub(in crate::engine) fn agent_answers(&self) -> Result<bool> {
        let path = self.state_dir.join(NAMESPACE);
        let inode = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            meta => meta.map_err(|error| kernel::Error::refused(format!("look at {}", path.display()), error))?.ino(),
        };
        // A file that is no namespace can have a greater one.
        u32::try_from(inode).map_or(Ok(false), |inode| Ok(self.locks.is_held(Place::AgentReady(inode))?))
    }

    /// Starts the name server, or waits for the one that is there: its worker is being replaced, or it follows its
    /// namespace.
    fn have_agent_answer(&self) -> Result<()> {
        let began = Instant::now();
        // One that ends again and again is not started each time.
        let (mut next_start, mut pause) = (began, Duration::from_millis(20));
        loop {
            if Instant::now() >= next_start && !self.locks.is_held(Place::Agent)? {
                self.start_agent()?;
                (next_start, pause) = (Instant::now() + pause, pause * 4);
            }
            if self.agent_answers()? {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let why = format!(
                    "the name server ({AGENT}) does not answer; see `ocinet log`, stop it where it runs, and try again"
                );
                return Err(Error::Kernel(kernel::Error::Deadline(why)));
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn agent_program(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(kernel::own_program()?).with_file_name(AGENT))
    }

    /// It returns once the name server answers.
    fn start_agent(&self) -> Result<()> {
        let program = self.agent_program()?;
        if kernel::is_gone(&program) {
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
