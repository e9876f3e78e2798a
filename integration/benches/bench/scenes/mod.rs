//! The scenes: what is measured, each for all subjects in turns, so that other load on the machine affects all alike.

pub mod crowd;
pub mod datapath;
pub mod names;
pub mod networks;
pub mod ports;
pub mod position;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use crate::chart::Group;
use crate::host::{Container, Host, Place};
use crate::options::Options;
use crate::subjects::{Kind, knows};
use crate::table::Table;

/// The results of a scene.
#[derive(Default)]
pub struct Results {
    pub tables: Vec<Table>,
    pub chart: Vec<Group>,
}

/// A subject's host with what is known of it so far.
pub struct Runner {
    pub kind: Kind,
    pub host: Host<Place>,
}

/// Makes a host for each of `kinds` that the installed programs know.
pub fn runners(kinds: &[Kind], options: &Options) -> Result<Vec<Runner>> {
    let known = kinds.iter().filter(|kind| knows(**kind, options));
    let made = known.map(|kind| {
        let subject = kind.subject(options)?;
        Ok(Runner { kind: *kind, host: Host::new(move || Place::new(subject))? })
    });
    made.collect()
}

/// The numbers below `count`, beginning with another one in each round.
pub fn in_turn(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| (round + turn) % count)
}

/// What a thing of which `small` took `time` takes for `large`. The rules of iptables are read and written as a whole,
/// so the time grows faster than the number.
pub fn expected(time: Duration, small: usize, large: usize) -> Duration {
    time.mul_f64((large as f64 / small.max(1) as f64).powf(1.2))
}

/// Runs `work` in a container's network namespace, and waits for its end.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let namespace = File::open(namespace).with_context(|| namespace.to_owned())?;
    let thread = thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    });
    thread.join().map_err(|_| anyhow!("a panic in a container"))?
}

/// Whether the first published port leads into the container.
pub fn works(container: &Container) -> Result<()> {
    let listener = inside(&container.namespace()?, || Ok(TcpListener::bind("0.0.0.0:80")?))?;
    let port = container.ports.on_host().next().and_then(|port| u16::try_from(port).ok()).context("no port")?;
    let published = SocketAddr::from(([198, 51, 100, 1], port));
    TcpStream::connect_timeout(&published, Duration::from_secs(2)).context("the published port")?;
    listener.accept()?;
    Ok(())
}
