//! The loop of the name server: one thread answers over UDP, follows the store, and accepts connections, each of which
//! gets a thread of its own.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use slog::{Logger, info, warn};

use ocinet::driver::NAME_SERVER;
use ocinet::kernel::{self, Lock, LockFile, Netns, Place};

use crate::answer::Verdict;
use crate::shared::Shared;
use crate::source::Look;
use crate::upstream::{Pending, Progress};
use crate::{control, tcp, wire};

/// How often it looks, at the latest, whether it is still needed.
const TICK: Duration = Duration::from_secs(1);
/// The same where it seems not to be, and a process keeps it.
const SHORT_TICK: Duration = Duration::from_millis(20);

/// How many datagrams are answered before other work gets its turn.
const AT_ONCE: usize = 64;

const STACK: usize = 256 << 10;

/// The sockets in the name server's namespace.
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// What wakes it beside questions.
pub struct Wakers<'w> {
    /// The socket for people and programs of the host.
    pub listener: &'w UnixListener,
    /// Readable once the store was written.
    pub store: BorrowedFd<'w>,
}

impl Sockets {
    /// Opens them in `namespace`.
    ///
    /// # Errors
    /// When another program has the port there, or the kernel refuses.
    pub fn open(namespace: &Netns) -> kernel::Result<Self> {
        namespace.within(|| {
            let open = || -> io::Result<Self> {
                let (udp, tcp) = (UdpSocket::bind((NAME_SERVER, 53))?, TcpListener::bind((NAME_SERVER, 53))?);
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                Ok(Self { udp, tcp })
            };
            open().map_err(|error| kernel::Error::refused(format!("listen on port 53 of {NAME_SERVER}"), error))
        })
    }
}

/// Answers until nobody needs it, or the state directory is gone. What is returned keeps others from relying on it until
/// this process has ended.
pub fn run(
    sockets: &Sockets,
    wakers: &Wakers<'_>,
    shared: &Arc<Shared>,
    locks: &LockFile,
    log: &Logger,
) -> kernel::Result<Option<Lock>> {
    let mut pending: Vec<Pending<'_>> = Vec::new();
    let mut tick = TICK;
    loop {
        wait(sockets, wakers, &pending, tick)?;
        answer_datagrams(sockets, shared, &mut pending);
        pending.retain_mut(|one| goes_on(one, &sockets.udp));
        while let Ok((stream, client)) = sockets.tcp.accept() {
            let shared = Arc::clone(shared);
            in_thread(log, move || tcp::serve(stream, client.ip(), &shared));
        }
        while let Ok((stream, _)) = wakers.listener.accept() {
            let shared = Arc::clone(shared);
            in_thread(log, move || control::serve(stream, &shared));
        }
        let (is_needed, look) = shared.with(|source, look| (!source.directory().is_empty(), look));
        if look == Look::Gone {
            info!(log, "ending: the state directory is gone");
            return Ok(None);
        }
        tick = TICK;
        if !is_needed {
            // An attach stores its endpoint, and holds this lock while it has this process stay.
            match locks.attempt(Place::AgentNeed)? {
                Some(lock) if shared.with(|source, _| source.reread() && source.directory().is_empty()) => {
                    info!(log, "ending: no container has a name");
                    return Ok(Some(lock));
                }
                _ => tick = SHORT_TICK,
            }
        }
    }
}

fn wait(sockets: &Sockets, wakers: &Wakers<'_>, pending: &[Pending<'_>], tick: Duration) -> kernel::Result<()> {
    let now = Instant::now();
    let next = pending.iter().map(|one| one.deadline.saturating_duration_since(now)).min();
    let timeout = PollTimeout::try_from(next.unwrap_or(tick).min(tick)).unwrap_or(PollTimeout::ZERO);
    let fixed = [sockets.udp.as_fd(), sockets.tcp.as_fd(), wakers.listener.as_fd(), wakers.store];
    let all = fixed.into_iter().chain(pending.iter().map(AsFd::as_fd));
    let mut ready: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut ready, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(kernel::Error::refused("wait for questions", error)),
    }
}

fn answer_datagrams<'s>(sockets: &Sockets, shared: &'s Shared, pending: &mut Vec<Pending<'s>>) {
    let mut buffer = [0; 4096];
    for _ in 0..AT_ONCE {
        // An error of the socket is that of an earlier answer, whose client has gone.
        let Ok((length, client)) = sockets.udp.recv_from(&mut buffer) else { return };
        if let Some(answer) = answer(&buffer[..length], client, shared, pending) {
            // A client that cannot be reached asks again.
            let _ = sockets.udp.send_to(&answer, client);
        }
    }
}

fn answer<'s>(bytes: &[u8], client: SocketAddr, shared: &'s Shared, pending: &mut Vec<Pending<'s>>) -> Option<Vec<u8>> {
    let source: IpAddr = client.ip();
    let question = match wire::read(bytes) {
        wire::Read::Question(question) => question,
        wire::Read::Refuse(answer) => return Some(answer),
        wire::Read::Ignore => return None,
    };
    let (verdict, first) = shared.verdict(source, &question);
    let Verdict::Ask(chosen) = verdict else { return question.answer(&verdict, first, question.room_over_udp()) };
    // The resolver asks again, as where the answer was lost.
    let turn = shared.turn(source)?;
    match Pending::ask(bytes.to_vec(), client, shared.servers(&chosen), turn) {
        Some(asked) => {
            pending.push(asked);
            None
        }
        None => question.failure(),
    }
}

/// Whether a question still waits for another server. If not, its client is told.
fn goes_on(one: &mut Pending<'_>, udp: &UdpSocket) -> bool {
    let progress = match one.receive() {
        Progress::Waits if one.deadline <= Instant::now() => one.go_on(),
        progress => progress,
    };
    let answer = match progress {
        Progress::Waits => return true,
        Progress::Answered(answer) => Some(answer),
        Progress::Failed => match wire::read(one.question()) {
            wire::Read::Question(question) => question.failure(),
            _ => None,
        },
    };
    if let Some(answer) = answer {
        let _ = udp.send_to(&answer, one.client);
    }
    false
}

/// A client whose connection gets no thread is closed, and asks again.
fn in_thread(log: &Logger, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().stack_size(STACK).spawn(work) {
        warn!(log, "no thread for a connection: {error}");
    }
}
