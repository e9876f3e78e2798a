//! The supervisor: it holds the claim, the sockets and the rights, and has a worker do the work.
//!
//! Where the worker ends, for whatever reason, the next one goes on with the sockets, in which what was asked meanwhile
//! waits. Where the supervisor is killed, the kernel kills the worker as well, and frees the claim: the next attach,
//! `ocinet gc` or `ocinet doctor --fix` starts another. An upgrade runs the installed program in the place of this one,
//! with the same sockets and the same claim.

mod child;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid, getppid};
use slog::{Logger, info, warn};

use ocinet::decide::names::name_server;
use ocinet::driver::NAME_SERVERS;
use ocinet::engine::{AGENT_SOCKET, Error, MEMBERS, NAMESPACE, Result, settings, this_host};
use ocinet::kernel::{self, Lock, LockFile, Place, perform};
use ocinet::resident::{Claim, Role};
use ocinet::store::{Host, Reader};

use crate::confine::confine;
use crate::link::{Teller, Told};
use crate::sockets::Sockets;
use crate::worker::{self, Given};
use child::Worker;

/// How often it looks at what shows by no event: its namespace, and the host's name servers.
const TICK: Duration = Duration::from_secs(1);
/// The same where no container has a name, and a process keeps it.
const SHORT_TICK: Duration = Duration::from_millis(20);

/// How many milliseconds the next worker waits where so many in a row ended before they answered.
const PAUSES: [u64; 4] = [0, 50, 250, 1000];

/// How many lines of a worker's go to the log each second.
const LINES: usize = 10;

/// The name server of this host.
pub const AGENT: Role = Role { place: Place::Agent, socket: AGENT_SOCKET, arguments: &[] };

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Places {
    /// The store, the locks and the files.
    pub state_dir: PathBuf,
    /// The folder of config.toml.
    pub config_dir: PathBuf,
}

/// What it holds beside a worker.
pub struct Supervisor {
    places: Places,
    /// This program's file, or what takes its place.
    program: String,
    log: Logger,
    host: Host,
    locks: LockFile,
    claim: Claim,
    listener: UnixListener,
    sockets: Sockets,
    /// The devices and the inodes of the state directory and of its lock file. In others that have their place, another
    /// process has the claim.
    home: [(u64, u64); 2],
    /// The inode of the namespace that the sockets are in.
    namespace: u32,
    /// Held while a worker answers.
    ready: Option<Lock>,
    fallback: Vec<IpAddr>,
    /// How many workers in a row ended before they answered.
    failures: usize,
    /// When the log was last written to, and how often in that second.
    logged: (Instant, usize),
}

/// Why a worker is not waited for any more.
enum Next {
    /// Another one is needed.
    Worker,
    /// Another one is needed, and this one answers what it has taken before.
    Left,
    /// None is: the name server ends, and keeps others from relying on it until then.
    End(Option<Lock>),
}

impl Supervisor {
    /// Takes the claim, and makes the sockets. The network namespace is there.
    ///
    /// # Errors
    /// [`Error::Conflict`] where another process has the claim; or when the kernel refuses.
    pub fn new(places: &Places, log: &Logger) -> Result<Self> {
        let claim = Claim::take(&AGENT, &places.state_dir)?;
        let (namespace, sockets) = open_sockets(&places.state_dir)?;
        let listener = claim.listen()?;
        Self::with(places, log, claim, listener, sockets, namespace)
    }

    /// Goes on with what another program of this process held: [`Supervisor::replace`] has their order.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub fn taken_over(places: &Places, log: &Logger, descriptors: Vec<OwnedFd>) -> Result<Self> {
        let mut all = descriptors.into_iter();
        let missing = || kernel::Error::refused("take over", io::Error::other("a descriptor is missing"));
        let claim = Claim::taken_over(&AGENT, &places.state_dir, all.next().ok_or_else(missing)?)?;
        let listener = UnixListener::from(all.next().ok_or_else(missing)?);
        let (namespace, sockets) = match Sockets::taken_over(all.collect()) {
            Ok(sockets) => (inode_of(&places.state_dir).unwrap_or_default(), sockets),
            Err(error) => {
                info!(log, "making new sockets: {error}");
                open_sockets(&places.state_dir)?
            }
        };
        Self::with(places, log, claim, listener, sockets, namespace)
    }

    fn with(
        places: &Places,
        log: &Logger,
        claim: Claim,
        listener: UnixListener,
        sockets: Sockets,
        namespace: u32,
    ) -> Result<Self> {
        let locks = LockFile::of(&places.state_dir);
        let known = |path: &Path| {
            identity_of(path).map_err(|error| kernel::Error::refused(format!("look at {}", path.display()), error))
        };
        // The worker watches it, and may not make it.
        kernel::state_dir(&places.state_dir.join(MEMBERS))?;
        let home = [known(&places.state_dir)?, known(locks.path())?];
        Ok(Self {
            locks,
            program: kernel::own_program()?,
            host: this_host()?,
            fallback: settings(&places.config_dir)?.dns_fallback,
            home,
            places: places.clone(),
            log: log.clone(),
            claim,
            listener,
            sockets,
            namespace,
            ready: None,
            failures: 0,
            logged: (Instant::now(), 0),
        })
    }

    /// Keeps a worker until none is needed. Calls `ready`, where someone waits for that, once the first one answers.
    ///
    /// # Errors
    /// When no worker can be made at all; while someone waits, also when one says why it cannot work.
    pub fn run(mut self, mut ready: Option<impl FnOnce()>) -> Result<()> {
        let mut is_cautious = false;
        loop {
            let mut worker = self.start(is_cautious)?;
            let next = self.keep(&mut worker, &mut ready);
            let has_answered = worker.has_answered;
            let next = next?;
            // One that was killed from outside failed by no question.
            is_cautious = match next {
                Next::Left => false,
                _ => !matches!(worker.end(), Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))),
            };
            match next {
                Next::End(lock) => {
                    // What keeps others from relying on this process ends with it.
                    if lock.is_some() {
                        self.claim.withdraw();
                    }
                    std::mem::forget(lock);
                    return Ok(());
                }
                Next::Worker | Next::Left => {}
            }
            self.failures = if has_answered { 0 } else { self.failures + 1 };
            let pause = PAUSES[self.failures.min(PAUSES.len() - 1)];
            if pause > 0 {
                warn!(self.log, "the name server's workers end one after the other; the next begins in {pause} ms");
                self.ready = None;
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
    }

    /// Serves a worker until it has ended, or is not needed.
    fn keep(&mut self, worker: &mut Worker, ready: &mut Option<impl FnOnce()>) -> Result<Next> {
        loop {
            if let Some(trouble) = worker.tell_servers() {
                self.note(&trouble);
            }
            let tick = if worker.is_idle { SHORT_TICK } else { TICK };
            let has_ended = worker.wait(tick)?;
            worker.reap();
            let (all, is_closed) = worker.told();
            for told in all {
                match told {
                    Told::Ready => self.rely_on(worker, ready)?,
                    Told::Idle => worker.is_idle = true,
                    Told::Busy => worker.is_idle = false,
                    // Shown below.
                    Told::Gone | Told::Stopped => {}
                    Told::Replace => {
                        worker.stop()?;
                        self.replace();
                        return Ok(Next::Left);
                    }
                    Told::Works => worker.works(),
                    // Its starter learns why at once, and may try again.
                    Told::Failed(why) if ready.is_some() => return Err(Error::Kernel(kernel::Error::Program(why))),
                    Told::Failed(text) | Told::Log(text) => self.note(&text),
                }
            }
            // One that can tell nothing more is killed.
            if has_ended || is_closed {
                warn!(self.log, "the name server's worker has ended; another takes its place");
                return Ok(Next::Worker);
            }
            if worker.hangs() {
                warn!(self.log, "the name server's worker does not answer; another takes its place");
                return Ok(Next::Worker);
            }
            if let Some(next) = self.follow(worker.is_idle)? {
                return Ok(next);
            }
        }
    }

    /// A worker answers: others may rely on it.
    fn rely_on(&mut self, worker: &mut Worker, ready: &mut Option<impl FnOnce()>) -> Result<()> {
        worker.has_answered = true;
        if self.ready.is_none() {
            self.ready = self.locks.attempt(Place::AgentReady(self.namespace))?;
        }
        if let Some(ready) = ready.take() {
            info!(self.log, "serving names"; "address" => %NAME_SERVERS[0]);
            ready();
        }
        Ok(())
    }

    /// What has become of the state directory, the namespace and the need for a worker that says whether it `is_idle`.
    fn follow(&mut self, is_idle: bool) -> Result<Option<Next>> {
        let [directory, locks] = self.home;
        if is_other(&self.places.state_dir, directory) || is_other(self.locks.path(), locks) {
            info!(self.log, "ending: the state directory or its lock file is gone");
            return Ok(Some(Next::End(None)));
        }
        if inode_of(&self.places.state_dir).is_some_and(|now| now != self.namespace) {
            self.follow_namespace()?;
            return Ok(Some(Next::Worker));
        }
        let lock = if is_idle { self.may_end()? } else { None };
        if lock.is_some() {
            info!(self.log, "ending: no container has a name");
        }
        Ok(lock.map(|lock| Next::End(Some(lock))))
    }

    /// Makes another worker, which has of all that this process has the sockets and two pipes.
    fn start(&self, is_cautious: bool) -> Result<Worker> {
        let refused = |error: io::Error| Error::Kernel(kernel::Error::refused("start a worker", error));
        let ((told, tell), (hears, heard)) = (io::pipe().map_err(refused)?, io::pipe().map_err(refused)?);
        let mut keep = self.sockets.descriptors();
        keep.extend([self.listener.as_fd(), tell.as_fd(), hears.as_fd()]);
        let supervisor = getpid();
        let work = || {
            let Ok(tell) = tell.try_clone().and_then(Teller::by) else { return };
            if let Err(why) = self.work(supervisor, is_cautious, &tell, &hears) {
                tell.tell(&Told::Failed(why));
            }
        };
        let pid =
            kernel::in_background(&keep, work)?.ok_or_else(|| refused(io::Error::other("there are other threads")))?;
        Worker::of(pid, told, heard).map_err(refused)
    }

    /// The worker's life, in its process.
    fn work(
        &self,
        supervisor: Pid,
        is_cautious: bool,
        tell: &Teller,
        hears: &io::PipeReader,
    ) -> std::result::Result<(), String> {
        set_pdeathsig(Signal::SIGKILL).map_err(|error| format!("a worker cannot end with its supervisor: {error}"))?;
        if getppid() != supervisor {
            return Ok(());
        }
        let teller = tell.clone();
        std::panic::set_hook(Box::new(move |panic| teller.log(&format!("a worker failed: {panic}"))));
        let confined = confine(&self.places.state_dir)?;
        let given = Given {
            sockets: &self.sockets,
            listener: &self.listener,
            heard: hears.try_clone().map_err(|error| error.to_string())?,
            tell: tell.clone(),
            state_dir: &self.places.state_dir,
            host: self.host.clone(),
            fallback: self.fallback.clone(),
            is_cautious,
            confined,
        };
        worker::work(given).map_err(|error| error.to_string())
    }

    /// Makes the sockets anew in the namespace that has taken the place of theirs.
    fn follow_namespace(&mut self) -> Result<()> {
        warn!(self.log, "the name server's network namespace is another one; listening there");
        self.ready = None;
        (self.namespace, self.sockets) = open_sockets(&self.places.state_dir)?;
        Ok(())
    }

    /// The lock under which no attach relies on the name server, if none does and no container needs it. An attach
    /// stores its endpoint, and then takes this lock together with others before it looks whether this process answers.
    fn may_end(&self) -> Result<Option<Lock>> {
        let Some(lock) = self.locks.attempt(Place::AgentNeed)? else { return Ok(None) };
        let is_needed = match Reader::open(&self.places.state_dir, &self.host) {
            Ok(None) => false,
            // What cannot be read may need it.
            Err(_) => true,
            Ok(Some(reader)) => {
                reader.sandboxes().map_or(true, |all| all.iter().any(|sandbox| name_server(sandbox).is_some()))
            }
        };
        Ok((!is_needed).then_some(lock))
    }

    /// Runs the installed program in the place of this one. The worker goes on until the new one has another.
    fn replace(&mut self) {
        let Places { state_dir, config_dir } = &self.places;
        let arguments = [
            OsStr::new("--state-dir"),
            state_dir.as_os_str(),
            OsStr::new("--config-dir"),
            config_dir.as_os_str(),
            OsStr::new("--taken-over"),
        ];
        let mut all = vec![self.claim.held_by(), self.listener.as_fd()];
        all.extend(self.sockets.descriptors());
        info!(self.log, "the installed program takes over"; "program" => &self.program);
        let error = kernel::hand_over(Path::new(&self.program), &arguments, &all);
        warn!(self.log, "the installed name server cannot take over: {error}");
    }

    fn note(&mut self, text: &str) {
        if self.logged.0.elapsed() > Duration::from_secs(1) {
            self.logged = (Instant::now(), 0);
        }
        self.logged.1 += 1;
        if self.logged.1 <= LINES {
            warn!(self.log, "{text}");
        }
    }
}

fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Whether another, or none, has the place of what was there. One that cannot be looked at is still there.
fn is_other(path: &Path, then: (u64, u64)) -> bool {
    match identity_of(path) {
        Ok(now) => now != then,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn inode_of(state_dir: &Path) -> Option<u32> {
    fs::metadata(state_dir.join(NAMESPACE)).ok().and_then(|meta| u32::try_from(meta.ino()).ok())
}

fn open_sockets(state_dir: &Path) -> Result<(u32, Sockets)> {
    let path = state_dir.join(NAMESPACE);
    let gone =
        || kernel::Error::refused(format!("look at {}", path.display()), io::Error::from(io::ErrorKind::NotFound));
    // Looked at first: where it is replaced meanwhile, that shows with the next look.
    let inode = inode_of(state_dir).ok_or_else(gone)?;
    Ok((inode, Sockets::open(&perform::existing_names_namespace(&path)?.ok_or_else(gone)?)?))
}
