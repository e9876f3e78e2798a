//! The worker: one thread that answers, asks other servers, and follows the store, driven by what becomes ready.
//!
//! A question over UDP stays in its socket until it is answered, or until another server is asked for it. So where this
//! process is killed at any moment, the next one finds it there, and answers it perhaps a second time.

mod connected;
mod elsewhere;
mod questions;

use std::io::PipeReader;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use ocinet::engine::{Error, Result};
use ocinet::kernel;
use ocinet::store::Host;

use crate::clients::Connection;
use crate::confine::Confined;
use crate::link::{self, Lines, Teller, Told};
use crate::slots::{Slots, Ticket};
use crate::sockets::Sockets;
use crate::source::{Look, Source};
use crate::turns::Turns;
use crate::upstream::{Asked, Server};

/// How long the questions that are at work may take, once another worker has taken over.
const LAST: Duration = Duration::from_secs(5);

/// When the store is looked at again that could not be read.
const RETRY: Duration = Duration::from_millis(20);

/// The longest wait, so that nothing waits for ever for an event that did not come.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What a worker is given.
pub struct Given<'s> {
    /// At which containers ask.
    pub sockets: &'s Sockets,
    /// At which people and programs of the host ask.
    pub listener: &'s UnixListener,
    /// By which the supervisor tells something.
    pub heard: PipeReader,
    /// By which it is told.
    pub tell: Teller,
    /// The state directory.
    pub state_dir: &'s std::path::Path,
    /// The host.
    pub host: Host,
    /// The servers that are asked where neither the container nor the host has one.
    pub fallback: Vec<IpAddr>,
    /// Whether the last worker failed by itself, and perhaps by one of the questions that wait.
    pub is_cautious: bool,
    /// What holds it.
    pub confined: Confined,
}

/// What an event is about.
#[derive(Debug, Clone, Copy)]
enum About {
    Udp,
    Tcp,
    Host,
    Heard,
    Store,
    Asked,
    Connection,
}

impl About {
    const ALL: [Self; 7] = [Self::Udp, Self::Tcp, Self::Host, Self::Heard, Self::Store, Self::Asked, Self::Connection];

    fn token(self, place: usize) -> u64 {
        (self as u64) << 32 | place as u64
    }

    fn of(token: u64) -> Option<(Self, usize)> {
        let about = Self::ALL.get(usize::try_from(token >> 32).ok()?)?;
        Some((*about, usize::try_from(token & 0xffff_ffff).ok()?))
    }
}

/// What is to be done with a question.
enum Outcome {
    Answer(Vec<u8>),
    Ask(Vec<Server>),
    Nothing,
}

struct Worker<'s> {
    sockets: &'s Sockets,
    listener: &'s UnixListener,
    heard: Lines,
    tell: Teller,
    source: Source,
    waker: OwnedFd,
    hosts: Vec<IpAddr>,
    fallback: Vec<IpAddr>,
    confined: Confined,
    epoll: Epoll,
    asked: Slots<Asked>,
    connections: Slots<Connection>,
    turns: Turns,
    /// Of which sockets the next question is taken out before it is looked at.
    is_cautious: Vec<bool>,
    /// Counts answers of IPv4 and of IPv6, so that each begins with another of several addresses.
    answers: [usize; 2],
    /// Whether the supervisor was told that no container has a name.
    is_idle: bool,
    /// When it ends, since another worker has taken over.
    ends: Option<Instant>,
    /// When the deadlines are looked at next.
    next_look: Instant,
}

/// Answers until another worker takes over.
///
/// # Errors
/// When the kernel refuses what it needs from the beginning.
pub fn work(given: Given<'_>) -> Result<()> {
    let refused = |error: Errno| Error::Kernel(kernel::Error::refused("wait for questions", error));
    let Given { sockets, listener, heard, tell, state_dir, host, fallback, is_cautious, confined } = given;
    let source = Source::open(state_dir, host, tell.clone())?;
    let mut worker = Worker {
        sockets,
        listener,
        heard: Lines::by(heard).map_err(|error| Error::Kernel(kernel::Error::refused("read a pipe", error)))?,
        tell,
        waker: source.waker()?,
        source,
        hosts: Vec::new(),
        fallback,
        confined,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(refused)?,
        asked: Slots::new(),
        connections: Slots::new(),
        turns: Turns::default(),
        is_cautious: vec![is_cautious; sockets.udp.len()],
        answers: [0; 2],
        is_idle: false,
        ends: None,
        next_look: Instant::now() + LONGEST_WAIT,
    };
    worker.hear();
    worker.listen().map_err(refused)?;
    worker.tell_of_need();
    worker.tell.tell(&Told::Ready);
    worker.run().map_err(refused)
}

impl Worker<'_> {
    fn listen(&self) -> nix::Result<()> {
        let Self { sockets, listener, heard, waker, .. } = self;
        let udp = sockets.udp.iter().enumerate().map(|(place, one)| (About::Udp, place, one.as_fd()));
        let tcp = sockets.tcp.iter().enumerate().map(|(place, one)| (About::Tcp, place, one.as_fd()));
        let others =
            [(About::Host, 0, listener.as_fd()), (About::Heard, 0, heard.as_fd()), (About::Store, 0, waker.as_fd())];
        for (about, place, socket) in udp.chain(tcp).chain(others) {
            self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, about.token(place)))?;
        }
        Ok(())
    }

    fn run(&mut self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let now = Instant::now();
            if self.ends.is_some_and(|end| end <= now || self.asked.len() + self.connections.len() == 0) {
                return Ok(());
            }
            let wait = self.next_look.saturating_duration_since(now) + Duration::from_millis(1);
            let timeout = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                result => result?,
            };
            for event in &events[..count] {
                if let Some((about, place)) = About::of(event.data()) {
                    self.attend(about, place, event.events());
                }
            }
            if Instant::now() >= self.next_look {
                self.look_at_deadlines();
            }
        }
    }

    fn attend(&mut self, about: About, place: usize, events: EpollFlags) {
        match about {
            About::Udp => self.answer_datagrams(place),
            About::Tcp => self.accept(place),
            About::Host => self.accept_host(),
            About::Heard => self.hear(),
            About::Store => self.look(),
            About::Asked => {
                if let Some((ticket, asked)) = self.asked.at(place) {
                    let progress = asked.advance();
                    self.go_on(ticket, progress);
                }
            }
            About::Connection => {
                let Some((ticket, connection)) = self.connections.at(place) else { return };
                let is_over = connection.waits && events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
                let goes_on = !is_over && connection.advance();
                if goes_on { self.serve(ticket) } else { self.close(ticket) }
            }
        }
    }

    /// Takes up what was written to the store.
    fn look(&mut self) {
        match self.source.look() {
            Look::Same => {}
            Look::Changed => self.tell_of_need(),
            Look::Gone => self.tell.tell(&Told::Gone),
        }
        if self.source.has_failed() {
            self.next_look = self.next_look.min(Instant::now() + RETRY);
        }
    }

    fn tell_of_need(&mut self) {
        let is_idle = self.source.directory().is_empty();
        if is_idle != self.is_idle {
            self.is_idle = is_idle;
            self.tell.tell(if is_idle { &Told::Idle } else { &Told::Busy });
        }
    }

    fn hear(&mut self) {
        let (lines, is_closed) = self.heard.take();
        for line in lines {
            match link::servers(&line) {
                Some(servers) => self.hosts = servers,
                None if line == link::WORKS.trim_end() => self.tell.tell(&Told::Works),
                None => {}
            }
        }
        if is_closed && self.ends.is_none() {
            // Another worker gets the sockets: two that take from one would lose what the other has just answered.
            self.ends = Some(Instant::now() + LAST);
            self.next_look = Instant::now();
            let Self { sockets, listener, heard, .. } = self;
            let others = [listener.as_fd(), heard.as_fd()];
            let all = sockets.udp.iter().map(AsFd::as_fd).chain(sockets.tcp.iter().map(AsFd::as_fd)).chain(others);
            all.for_each(|socket| {
                let _ = self.epoll.delete(socket);
            });
            self.tell.tell(&Told::Stopped);
        }
    }

    fn look_at_deadlines(&mut self) {
        self.look();
        let now = Instant::now();
        let late = |deadline: Instant| deadline <= now;
        let asked: Vec<Ticket> =
            self.asked.iter().filter(|(_, one)| late(one.deadline)).map(|(ticket, _)| ticket).collect();
        for ticket in asked {
            if let Some(progress) = self.asked.get(ticket).map(Asked::go_on) {
                self.go_on(ticket, progress);
            }
        }
        let idle: Vec<Ticket> =
            self.connections.iter().filter(|(_, one)| late(one.deadline)).map(|(ticket, _)| ticket).collect();
        idle.into_iter().for_each(|ticket| self.close(ticket));
        let longest = if self.source.has_failed() { RETRY } else { LONGEST_WAIT };
        let all = self.asked.iter().map(|(_, one)| one.deadline);
        let all = all.chain(self.connections.iter().map(|(_, one)| one.deadline)).chain(self.ends);
        self.next_look = all.chain([now + longest]).min().unwrap_or(now);
    }
}
