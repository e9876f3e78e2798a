//! What the threads of the name server share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ocinet::decide::files::Resolver;
use ocinet::driver::NAME_SERVER;
use ocinet::kernel;

use crate::answer::{Verdict, decide};
use crate::source::{Look, Source};
use crate::wire::Question;

/// Where the host says which name servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_BYTES: usize = 64 << 10;

/// How many servers are asked, as by the C library (MAXNS, resolv.conf(5)).
const SERVERS: usize = 3;

/// How many questions of one container wait for other servers, or come by TCP, at once; and of all.
const OF_ONE: usize = 64;
const OF_ALL: usize = 1024;

/// What the threads of the name server share.
pub struct Shared {
    inner: Mutex<Inner>,
    /// The servers where the host names none.
    fallback: Vec<IpAddr>,
}

struct Inner {
    source: Source,
    /// Counts answers, so that each begins with another of several addresses.
    answers: usize,
    /// How many questions of each container are at work.
    busy: BTreeMap<IpAddr, usize>,
}

/// One question that is at work; counted as long as it lives.
pub struct Turn<'s> {
    shared: &'s Shared,
    source: IpAddr,
}

impl Shared {
    /// What is known from `source`; `fallback` are the servers where the host names none.
    pub fn new(source: Source, fallback: Vec<IpAddr>) -> Self {
        Self { inner: Mutex::new(Inner { source, answers: 0, busy: BTreeMap::new() }), fallback }
    }

    /// What is left where a thread panicked is whole: each change is made in one step.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `work` makes of the names, after everything that was written before was taken up.
    pub fn with<T>(&self, work: impl FnOnce(&mut Source, Look) -> T) -> T {
        let mut inner = self.lock();
        let look = inner.source.look();
        work(&mut inner.source, look)
    }

    /// What is to be answered to `question` from `source`, and the number of the address that comes first.
    pub fn verdict(&self, source: IpAddr, question: &Question) -> (Verdict, usize) {
        let mut inner = self.lock();
        inner.source.look();
        inner.answers = inner.answers.wrapping_add(1);
        (decide(inner.source.directory(), source, &question.name, question.kind), inner.answers)
    }

    /// Counts one more question of `source` that is at work; none where there are too many.
    pub fn turn(&self, source: IpAddr) -> Option<Turn<'_>> {
        let mut inner = self.lock();
        if inner.busy.values().sum::<usize>() >= OF_ALL {
            return None;
        }
        let of_source = inner.busy.entry(source).or_default();
        if *of_source >= OF_ONE {
            return None;
        }
        *of_source += 1;
        Some(Turn { shared: self, source })
    }

    /// The servers to be asked: those that were `chosen`, or else the host's as they are now.
    pub fn servers(&self, chosen: &[IpAddr]) -> Vec<SocketAddr> {
        let hosts = || {
            let bytes = kernel::read_regular(Path::new(RESOLV_CONF), MAX_BYTES).ok().flatten().unwrap_or_default();
            let named = Resolver::parse(&String::from_utf8_lossy(&bytes)).nameservers;
            named.iter().filter_map(|server| server.parse().ok()).collect::<Vec<IpAddr>>()
        };
        let mut servers = if chosen.is_empty() { hosts() } else { chosen.to_vec() };
        if servers.is_empty() {
            servers.clone_from(&self.fallback);
        }
        servers.retain(|server| *server != NAME_SERVER);
        servers.truncate(SERVERS);
        servers.into_iter().map(|server| SocketAddr::new(server, 53)).collect()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if let Some(count) = inner.busy.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                inner.busy.remove(&self.source);
            }
        }
    }
}
