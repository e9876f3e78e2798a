//! A private host for one subject, and the containers on it.

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::cost::{Cost, cost};
use crate::fixture::{Ports, Sandbox, private_host, run};
use crate::subjects::{Run, Subject};

/// How long the kernel may take until it has taken apart what ended.
const PATIENCE: Duration = Duration::from_secs(120);

/// The default network.
pub const BRIDGE: &str = "bridge";

/// What a host's thread does next.
type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A host: a thread that has entered the host's namespaces, and what is on it.
pub struct Host<S> {
    /// None once the thread has to end.
    jobs: Option<Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: 'static> Host<S> {
    /// Makes a host, and on it what `make` makes.
    pub fn new(make: impl FnOnce() -> Result<S> + Send + 'static) -> Result<Self> {
        let (jobs, asked) = channel::<Job<S>>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || match private_host().and_then(|()| make()) {
            Ok(mut state) => {
                let _ = tell.send(Ok(()));
                asked.into_iter().for_each(|job| job(&mut state));
            }
            Err(error) => drop(tell.send(Err(error))),
        });
        let host = Self { jobs: Some(jobs), thread: Some(thread) };
        answer(&told)?;
        Ok(host)
    }

    /// Does `work` on the host, and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut S) -> Result<T> + Send + 'static) -> Result<T> {
        let (tell, told) = channel();
        let job = Box::new(move |state: &mut S| drop(tell.send(work(state))));
        self.jobs.as_ref().context("the host has ended")?.send(job).map_err(|_| anyhow!("the host has ended"))?;
        answer(&told)
    }
}

fn answer<T>(told: &Receiver<Result<T>>) -> Result<T> {
    told.recv().context("a panic on a host")?
}

impl<S> Drop for Host<S> {
    /// Waits until the host's processes have ended.
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A container.
pub struct Container {
    /// Its number on the host.
    pub number: usize,
    /// Its published ports.
    pub ports: Ports,
    pub sandbox: Sandbox,
}

impl Container {
    fn on(networks: &str, number: usize, ports: Ports) -> Result<Self> {
        Ok(Self { number, ports, sandbox: Sandbox::on(networks, &format!("c{number}"), &ports.publish())? })
    }

    /// Its id.
    pub fn id(&self) -> String {
        format!("c{}", self.number)
    }

    /// The pid of its process.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.sandbox.process.as_ref().context("the container has ended")?.id())
    }

    /// The path of its network namespace.
    pub fn namespace(&self) -> Result<String> {
        Ok(format!("/proc/{}/ns/net", self.pid()?))
    }

    /// An address in the network whose first two bytes these are.
    pub fn address(&self, network: &str) -> String {
        format!("{network}.{}.{}", self.number / 250 % 250, self.number % 250 + 2)
    }
}

/// What is on a host: a subject, and the containers that are attached.
pub struct Place {
    pub subject: Box<dyn Subject>,
    pub attached: Vec<(Container, Value)>,
    /// The number of the next container.
    next: usize,
    /// The links of the host that are no container's.
    links: usize,
}

impl Place {
    /// A host for this subject, on which a first container was attached and detached: what all containers share is
    /// there. The published port of that container leads into it.
    pub fn new(subject: Box<dyn Subject>) -> Result<Self> {
        subject.prepare().with_context(|| format!("{}: its host", subject.name()))?;
        let mut place = Self { subject, attached: Vec::new(), next: 0, links: 0 };
        place.attach(Ports::new(1), &run)?;
        if place.subject.attaches() {
            let (container, _) = place.attached.first().context("the first container")?;
            crate::scenes::works(container).with_context(|| place.subject.name().to_owned())?;
        }
        // With the bridge, which some subjects delete with the last container.
        place.links = links()? - usize::from(place.subject.attaches());
        place.detach(0, &run)?;
        place.settle()?;
        Ok(place)
    }

    /// A container that is not attached yet.
    pub fn container(&mut self, ports: Ports) -> Result<Container> {
        self.container_on(BRIDGE, ports)
    }

    fn container_on(&mut self, networks: &str, ports: Ports) -> Result<Container> {
        self.next += 1;
        Container::on(networks, self.next - 1, ports)
    }

    /// Attaches a new container.
    pub fn attach(&mut self, ports: Ports, run: Run<'_>) -> Result<Cost> {
        self.attach_to(BRIDGE, ports, run)
    }

    /// Attaches a new container to these networks, in the form of `io.ocinet.network`.
    pub fn attach_to(&mut self, networks: &str, ports: Ports, run: Run<'_>) -> Result<Cost> {
        let container = self.container_on(networks, ports)?;
        let mut said = Value::Null;
        let took = cost(|| {
            said = self.subject.attach(&container, run)?;
            Ok(())
        });
        let took = took.with_context(|| format!("{}: attach with {} ports", self.subject.name(), ports.count))?;
        self.attached.push((container, said));
        Ok(took)
    }

    /// Ends a container and detaches it, in the order that the subject needs.
    pub fn detach(&mut self, at: usize, run: Run<'_>) -> Result<Cost> {
        ensure!(at < self.attached.len(), "no container {at}");
        let (mut container, said) = self.attached.swap_remove(at);
        if self.subject.namespace_ends_first() {
            container.sandbox = container.sandbox.end()?;
        }
        let took = cost(|| self.subject.detach(&container, &said, run));
        took.with_context(|| format!("{}: detach with {} ports", self.subject.name(), container.ports.count))
    }

    /// Waits until the kernel has taken apart the links of those that ended, which holds up all other changes.
    pub fn settle(&self) -> Result<()> {
        let since = Instant::now();
        while links()? > self.links + self.attached.len() {
            ensure!(since.elapsed() < PATIENCE, "{}: {} links stay", self.subject.name(), links()?);
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }

    /// Counts the links of the host anew, once those of ended containers are gone: networks were made, which stay.
    pub fn count_links(&mut self) -> Result<()> {
        let before = loop {
            let before = links()?;
            thread::sleep(Duration::from_millis(200));
            if links()? == before {
                break before;
            }
        };
        self.links = before - self.attached.len();
        Ok(())
    }

    /// Ends all containers, and detaches none.
    pub fn clear(&mut self) -> Result<()> {
        self.attached.clear();
        self.settle()?;
        self.subject.collect()
    }
}

/// The number of links in the namespace that this thread is in.
fn links() -> Result<usize> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(table.lines().filter(|line| line.contains(':')).count())
}
