//! Containers that share another one's network: who that is, where its namespace is found, and what comes with it.

use std::path::PathBuf;

use super::lease::{Claim, Claimed, Lease};
use super::{Engine, Error, Result};
use crate::files::File;
use crate::kernel::{self, Netns};
use crate::liveness::Sight;
use crate::model::{ContainerId, Invalid, Mode, Namespace, Record, State, Witness, quoted};
use crate::oci::NetworkNamespace;
use crate::request::Request;

/// The longest that our own file with a host name can be.
const MAX_HOSTNAME: usize = 256;

/// A living container whose network another one joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its record.
    pub record: Record,
    /// Where its network namespace is found, as long as it lives.
    pub namespace: PathBuf,
    /// The files that were made for it.
    pub files: Vec<(File, PathBuf)>,
    /// Its host name, where it has files.
    pub hostname: Option<String>,
}

impl Engine {
    /// Finds the one living container of that id, of that name, or whose id begins so.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none or it is dead, [`Error::Conflict`] where there are several.
    pub fn neighbour(&mut self, container: &ContainerId) -> Result<Neighbour> {
        let all = self.records()?;
        let attached = |record: &&Record| record.state == State::Attached;
        let mut dead = None;
        for called_so in [is_id, is_name, begins_id] {
            let known = all.iter().filter(attached).filter(|record| called_so(record, container));
            let (living, rest): (Vec<&Record>, Vec<&Record>) = known.partition(|record| self.is_alive(record));
            match living[..] {
                [record] => return self.neighbour_of(record),
                [] => dead = dead.or(rest.first().copied()),
                ref several => return Err(ambiguous(container, several)),
            }
        }
        Err(match dead {
            Some(record) => Error::NotFound(self.why_not_alive(record)),
            None => Self::not_attached(container.as_str(), &all),
        })
    }

    /// The membership that `request` asks for: the sandbox it is in must be that of `owner`.
    pub(super) fn lease_membership(
        &mut self,
        request: &Request,
        namespace: &Namespace,
        owner: &ContainerId,
    ) -> Claimed<Lease> {
        if let Some(record) = self.store.read().find(&request.key())? {
            return Err(Claim::Earlier(record.into()));
        }
        let wrong = |why: String| Claim::Failed(Invalid::new(FIELD, format!("container:{owner}"), why).into());
        let prepare = "run ocinet prepare on the bundle again";
        match self.store.read().find_by_cookie(namespace.cookie)? {
            Some(record) if is_called(&record, owner) => Err(Claim::Owned(record.into())),
            Some(other) => {
                let other = &other.container;
                Err(wrong(format!("is not whose network namespace this is; that is container {other}'s: {prepare}")))
            }
            None => {
                self.neighbour(owner)?;
                Err(wrong(format!("is attached with another network namespace than this container's: {prepare}")))
            }
        }
    }

    /// Refuses a container that was to join another, and was made with a namespace of its own or with the host's.
    pub(super) fn refuse_outsider(&mut self, request: &Request, owner: &ContainerId, is_hosts: bool) -> Result<()> {
        if matches!(request.namespace, NetworkNamespace::At(_)) && !is_hosts {
            return Ok(());
        }
        // What is wrong with the other one matters more.
        self.neighbour(owner)?;
        let why = "needs that container's network namespace, and a hook cannot change a container's afterwards; \
                   ocinet prepare writes its path into linux.namespaces of config.json";
        Err(Invalid::new(FIELD, format!("container:{owner}"), why).into())
    }

    fn is_alive(&self, record: &Record) -> bool {
        matches!(Netns::look(&record.namespace, &self.origin), Sight::Alive(_))
    }

    fn why_not_alive(&self, record: &Record) -> String {
        let container = &record.container;
        match Netns::look(&record.namespace, &self.origin) {
            Sight::Hidden(why) | Sight::Failed(why) => format!("container {container} cannot be seen from here: {why}"),
            Sight::Alive(_) | Sight::Gone | Sight::Missing(_) => {
                format!("container {container} is not running any more")
            }
        }
    }

    fn neighbour_of(&self, record: &Record) -> Result<Neighbour> {
        if record.mode == Mode::Host {
            let why = "is in the host's network; ask for network host instead";
            return Err(Invalid::new(FIELD, format!("container:{}", record.container), why).into());
        }
        let namespace = match &record.namespace.witness {
            Witness::Path(path) | Witness::Made { path, .. } => path.clone(),
            Witness::Process { pid, .. } => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Witness::Unseen => return Err(Error::NotFound(self.why_not_alive(record))),
        };
        let directory = self.files_of(&record.key());
        let files = File::ALL.into_iter().map(|file| (file, directory.join(file.name())));
        let files: Vec<_> = files.filter(|(_, path)| path.is_file()).collect();
        let hostname = match files.iter().find(|(file, _)| *file == File::HostName) {
            Some((_, path)) => kernel::read_regular(path, MAX_HOSTNAME)?,
            None => None,
        };
        let hostname = hostname.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        Ok(Neighbour { record: record.clone(), namespace, files, hostname })
    }
}

/// The annotation that all of this is about.
const FIELD: &str = "annotation io.ocinet.network";

fn is_id(record: &Record, text: &ContainerId) -> bool {
    record.container == *text
}

fn is_name(record: &Record, text: &ContainerId) -> bool {
    record.name.as_str() == text.as_str()
}

fn begins_id(record: &Record, text: &ContainerId) -> bool {
    record.container.as_str().starts_with(text.as_str())
}

fn is_called(record: &Record, text: &ContainerId) -> bool {
    is_id(record, text) || is_name(record, text) || begins_id(record, text)
}

fn ambiguous(container: &ContainerId, several: &[&Record]) -> Error {
    let bundles: Vec<String> =
        several.iter().map(|record| format!("{} of bundle {}", record.container, record.bundle)).collect();
    Error::Conflict(format!("several containers are called {}: {}", quoted(container.as_str()), bundles.join(", ")))
}
