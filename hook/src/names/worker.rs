//! The worker: one thread that answers, asks other servers, and follows the store, driven by what becomes ready.
//!
//! A question over UDP stays in its socket until it is answered, or until another server is asked for it. So where this
//! process is killed at any moment, the next one finds it there, and answers it perhaps a second time.

use std::io::PipeReader;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::getppid;
use serde_json::Value;

use ocinet::engine::{Error, Result};
use ocinet::kernel;
use ocinet::store::Host;

use crate::answer::{Verdict, decide};
use crate::clients::{Connection, Sent};
use crate::confine::Confined;
use crate::control::{self, Line};
use crate::link::{self, Lines, Teller, Told};
use crate::slots::{Slots, Ticket};
use crate::sockets::Sockets;
use crate::source::{Look, Source};
use crate::turns::Turns;
use crate::upstream::{Asked, Client, Progress, Server};
use crate::wire::{self, LONGEST};

/// How many datagrams of one socket are answered before the others get their turn.
const AT_ONCE: usize = 16;

/// The longest question over UDP that is read.
const QUESTION: usize = 4096;

/// How long the questions that are at work may take, once another worker has taken over.
const LAST: Duration = Duration::from_secs(5);

/// When the store is looked at again that could not be read.
const RETRY: Duration = Duration::from_millis(20);

/// The longest wait, so that nothing waits for ever for an event that did not come.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many programs of the host are connected at once.
const HOSTS: usize = 32;

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
    /// Counts answers, so that each begins with another of several addresses.
    answers: usize,
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
        answers: 0,
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
        for servers in lines.iter().filter_map(|line| link::servers(line)) {
            self.hosts = servers;
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

    fn answer_datagrams(&mut self, place: usize) {
        let Some(socket) = self.sockets.udp.get(place) else { return };
        let mut buffer = [0; QUESTION];
        for _ in 0..AT_ONCE {
            if self.ends.is_some() {
                return;
            }
            // A question by which the last worker failed would have this one fail as well, and the next.
            let is_cautious = std::mem::replace(&mut self.is_cautious[place], false);
            let taken = if is_cautious { socket.recv_from(&mut buffer) } else { socket.peek_from(&mut buffer) };
            let Ok((length, client)) = taken else { return };
            match self.outcome(&buffer[..length], client.ip(), |question| question.room_over_udp()) {
                // A client that cannot be reached asks again.
                Outcome::Answer(answer) => drop(socket.send_to(&answer, client)),
                Outcome::Ask(servers) => self.ask(buffer[..length].to_vec(), Client::Udp(place, client), servers),
                Outcome::Nothing => {}
            }
            if !is_cautious {
                let _ = socket.recv_from(&mut [0; 0]);
            }
        }
    }

    /// What is to be done with a question from `source`, whose answer has the `room` that it says.
    fn outcome(&mut self, bytes: &[u8], source: IpAddr, room: fn(&wire::Question<'_>) -> usize) -> Outcome {
        // A container that was attached before it asked is known.
        self.look();
        if self.source.directory().at(source).is_none() {
            return Outcome::Nothing;
        }
        let question = match wire::read(bytes) {
            wire::Read::Question(question) => question,
            wire::Read::Refuse(answer) => return Outcome::Answer(answer),
            wire::Read::Ignore => return Outcome::Nothing,
        };
        self.answers = self.answers.wrapping_add(1);
        match decide(self.source.directory(), source, &question.name, question.kind) {
            Verdict::Ask(chosen) => Outcome::Ask(self.servers(&chosen)),
            verdict => {
                question.answer(&verdict, self.answers, room(&question)).map_or(Outcome::Nothing, Outcome::Answer)
            }
        }
    }

    /// The servers that are asked: those that were `chosen` for the container, or else the host's.
    fn servers(&self, chosen: &[IpAddr]) -> Vec<Server> {
        if chosen.is_empty() {
            let hosts = if self.hosts.is_empty() { &self.fallback } else { &self.hosts };
            let of_host = hosts.iter().filter(|server| !ocinet::driver::NAME_SERVERS.contains(server));
            return of_host.map(|address| Server { address: *address, must_be_elsewhere: false }).collect();
        }
        // The gateway of the container's own network is an address of the host.
        let is_ours = |address: IpAddr| self.source.directory().is_ours(address.to_canonical());
        let of_chosen = |address: &IpAddr| Server { address: *address, must_be_elsewhere: !is_ours(*address) };
        chosen.iter().map(of_chosen).collect()
    }

    fn ask(&mut self, question: Vec<u8>, client: Client, servers: Vec<Server>) {
        let source = client.source();
        let is_new = matches!(client, Client::Udp(..));
        // A connection has its turn already. The client asks again, as where the answer was lost.
        if is_new && !self.turns.take(source) {
            return;
        }
        let Some(asked) = Asked::ask(question.clone(), client, servers) else {
            if is_new {
                self.turns.give_back(source);
            }
            return self.answer_failure(&question, client);
        };
        self.next_look = self.next_look.min(asked.deadline);
        let ticket = self.asked.put(asked);
        if self.wait_for_server(ticket).is_err() {
            self.forget(ticket);
            self.answer_failure(&question, client);
        }
    }

    fn wait_for_server(&mut self, ticket: Ticket) -> nix::Result<()> {
        let Some(asked) = self.asked.get(ticket) else { return Ok(()) };
        let sends = if asked.has_to_send() { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        let event = EpollEvent::new(EpollFlags::EPOLLIN | sends, About::Asked.token(ticket.place));
        self.epoll.add(asked.as_fd(), event)
    }

    fn go_on(&mut self, ticket: Ticket, progress: Progress) {
        match progress {
            Progress::Waits => {
                let Some(asked) = self.asked.get(ticket) else { return };
                if !asked.has_to_send() {
                    let mut event = EpollEvent::new(EpollFlags::EPOLLIN, About::Asked.token(ticket.place));
                    let _ = self.epoll.modify(asked.as_fd(), &mut event);
                }
            }
            Progress::Moved => {
                if let Some(asked) = self.asked.get(ticket) {
                    self.next_look = self.next_look.min(asked.deadline);
                }
                if self.wait_for_server(ticket).is_err() {
                    self.go_on(ticket, Progress::Failed);
                }
            }
            Progress::Answered(answer) => {
                if let Some(asked) = self.forget(ticket) {
                    self.give(&answer, asked.client);
                }
            }
            Progress::Failed => {
                if let Some(asked) = self.forget(ticket) {
                    self.answer_failure(&asked.question, asked.client);
                }
            }
        }
    }

    fn forget(&mut self, ticket: Ticket) -> Option<Asked> {
        let asked = self.asked.take(ticket)?;
        if let Client::Udp(_, client) = asked.client {
            self.turns.give_back(client.ip());
        }
        Some(asked)
    }

    fn answer_failure(&mut self, question: &[u8], client: Client) {
        let failure = match wire::read(question) {
            wire::Read::Question(question) => question.failure(),
            _ => None,
        };
        match (failure, client) {
            (Some(failure), _) => self.give(&failure, client),
            (None, Client::Tcp(ticket, _)) => self.close(ticket),
            (None, Client::Udp(..)) => {}
        }
    }

    fn give(&mut self, answer: &[u8], client: Client) {
        match client {
            Client::Udp(place, address) => {
                if let Some(socket) = self.sockets.udp.get(place) {
                    let _ = socket.send_to(answer, address);
                }
            }
            Client::Tcp(ticket, _) => {
                let Some(connection) = self.connections.get(ticket) else { return };
                if connection.answer(answer) { self.serve(ticket) } else { self.close(ticket) }
            }
        }
    }

    fn accept(&mut self, place: usize) {
        let Some(listener) = self.sockets.tcp.get(place).filter(|_| self.ends.is_none()) else { return };
        for _ in 0..AT_ONCE {
            let Ok((stream, client)) = listener.accept() else { return };
            let source = client.ip();
            if !self.turns.take(source) {
                continue;
            }
            match Connection::of_container(stream, source) {
                Ok(connection) => self.connect(connection),
                Err(_) => self.turns.give_back(source),
            }
        }
    }

    fn accept_host(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let hosts = self.connections.iter().filter(|(_, one)| one.source().is_none()).count();
            if hosts < HOSTS
                && let Ok(connection) = Connection::of_host(stream)
            {
                self.connect(connection);
            }
        }
    }

    fn connect(&mut self, connection: Connection) {
        self.next_look = self.next_look.min(connection.deadline);
        let ticket = self.connections.put(connection);
        let Some(connection) = self.connections.get(ticket) else { return };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, About::Connection.token(ticket.place));
        if self.epoll.add(connection.as_fd(), event).is_err() {
            self.close(ticket);
        }
    }

    fn close(&mut self, ticket: Ticket) {
        if let Some(source) = self.connections.take(ticket).and_then(|connection| connection.source()) {
            self.turns.give_back(source);
        }
    }

    /// Answers what has come by a connection, and says of what it is waited for.
    fn serve(&mut self, ticket: Ticket) {
        loop {
            let Some(connection) = self.connections.get(ticket) else { return };
            let goes_on = match connection.next() {
                Ok(None) => break,
                Ok(Some(Sent::Question(question))) => self.answer_on(ticket, question),
                Ok(Some(Sent::Line(line))) => self.answer_host(ticket, &line),
                Err(()) => false,
            };
            if !goes_on {
                return self.close(ticket);
            }
        }
        let Some(connection) = self.connections.get(ticket) else { return };
        let (reads, writes) = connection.interest();
        let flags = [(reads, EpollFlags::EPOLLIN), (writes, EpollFlags::EPOLLOUT)];
        let flags = flags.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, flag)| flag).collect();
        let _ =
            self.epoll.modify(connection.as_fd(), &mut EpollEvent::new(flags, About::Connection.token(ticket.place)));
    }

    /// False where the connection is at its end.
    fn answer_on(&mut self, ticket: Ticket, question: Vec<u8>) -> bool {
        let Some(source) = self.connections.get(ticket).and_then(|connection| connection.source()) else {
            return false;
        };
        match self.outcome(&question, source, |_| LONGEST) {
            Outcome::Answer(answer) => self.connections.get(ticket).is_some_and(|one| one.answer(&answer)),
            Outcome::Ask(servers) => {
                if let Some(connection) = self.connections.get(ticket) {
                    connection.waits = true;
                }
                self.ask(question, Client::Tcp(ticket, source), servers);
                self.connections.get(ticket).is_some()
            }
            Outcome::Nothing => false,
        }
    }

    fn answer_host(&mut self, ticket: Ticket, line: &str) -> bool {
        self.look();
        let supervisor = getppid().as_raw();
        let answer = match control::read(line, self.source.directory(), self.confined, supervisor) {
            Line::Answer(answer) => answer,
            Line::Replace => {
                self.tell.tell(&Told::Replace);
                Value::Bool(true)
            }
            Line::Unknown => return false,
        };
        self.connections.get(ticket).is_some_and(|connection| connection.answer(format!("{answer}\n").as_bytes()))
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
