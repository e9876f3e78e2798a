//! The limits of one client: the number of connections, of calls at a time, and the length of a frame.
//!
//! The ttrpc server accepts everything and starts a task for each request. So its frames are counted as they come in
//! and go out. While a client has as many calls open as it may, nothing more is read from it, and its own socket fills
//! up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use ocinet::kernel;
use ocinet_proto::ttrpc::proto::{
    FLAG_REMOTE_CLOSED, MESSAGE_HEADER_LENGTH, MESSAGE_TYPE_DATA, MESSAGE_TYPE_RESPONSE, MessageHeader,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

/// The longest frame that a client may send; as long as the longest state that a runtime writes to a hook.
const LONGEST: u32 = 1 << 20;

/// The number of calls that a client may have open at a time.
const CALLS: usize = 16;

/// The number of clients at a time.
const MOST: usize = 512;

/// The connected clients.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<AtomicUsize>);

/// A connected client.
#[derive(Debug)]
pub struct Client(Clients);

impl Clients {
    /// Admits another client, if there is room.
    pub fn admit(&self) -> Option<Client> {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let client = Client(self.clone());
        (count < MOST).then_some(client)
    }

    /// Waits until, for a time of `idle`, no client was connected and `is_needed` was false.
    pub async fn stay_away(&self, idle: Duration, is_needed: impl Fn() -> bool) {
        let mut since = Instant::now();
        while since.elapsed() < idle {
            // A client that connects and disconnects between two looks does not count.
            sleep((idle / 10).max(Duration::from_millis(50))).await;
            kernel::return_memory();
            if self.0.load(Ordering::Relaxed) > 0 || is_needed() {
                since = Instant::now();
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client's connection.
pub struct Connection {
    stream: UnixStream,
    /// The frames that come in: how far the present one is read.
    read: Frames,
    /// The frames that go out: how far the present one is written.
    written: Frames,
    /// The number of calls that are not answered yet.
    open: usize,
    /// The reader, which waits for an answer before it reads on.
    waiting: Option<Waker>,
    /// Counts as one client while it is open.
    _client: Client,
}

impl Connection {
    pub fn new(stream: UnixStream, client: Client) -> Self {
        let (read, written) = (Frames::default(), Frames::default());
        Self { stream, read, written, open: 0, waiting: None, _client: client }
    }
}

/// Finds the headers in a stream of frames.
#[derive(Debug, Default)]
struct Frames {
    header: Vec<u8>,
    /// The number of payload bytes of the present frame that are still to come.
    left: usize,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.header.is_empty() && self.left == 0
    }

    /// Takes the next `bytes`, and passes each header that is complete to `show`.
    fn pass(&mut self, mut bytes: &[u8], mut show: impl FnMut(MessageHeader)) {
        while !bytes.is_empty() {
            let payload = bytes.len().min(self.left);
            self.left -= payload;
            bytes = &bytes[payload..];
            let more = bytes.len().min(MESSAGE_HEADER_LENGTH - self.header.len());
            self.header.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if self.header.len() == MESSAGE_HEADER_LENGTH {
                let header = MessageHeader::from(&self.header);
                self.left = header.length as usize;
                self.header.clear();
                show(header);
            }
        }
    }
}

/// Whether it is the last frame of a call.
fn ends_call(header: MessageHeader) -> bool {
    header.type_ == MESSAGE_TYPE_RESPONSE || header.type_ == MESSAGE_TYPE_DATA && header.flags & FLAG_REMOTE_CLOSED != 0
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.open >= CALLS && this.read.is_between() {
            this.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let mut longest = 0;
        this.read.pass(&buf.filled()[before..], |header| {
            this.open += 1;
            longest = longest.max(header.length);
        });
        if longest > LONGEST {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too long a frame")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        let mut ended = 0;
        this.written.pass(&buf[..count], |header| ended += usize::from(ends_call(header)));
        this.open = this.open.saturating_sub(ended);
        if ended > 0 {
            this.waiting.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_however_the_bytes_come() {
        let frame = |length: u32, kind: u8, flags: u8| {
            let header = MessageHeader { length, stream_id: 1, type_: kind, flags };
            [Vec::from(header), vec![MESSAGE_TYPE_RESPONSE; length as usize]].concat()
        };
        let bytes = [frame(3, 1, 0), frame(0, MESSAGE_TYPE_RESPONSE, 0), frame(20, MESSAGE_TYPE_DATA, 1)].concat();
        for size in 1..=bytes.len() {
            let (mut frames, mut lengths, mut ends) = (Frames::default(), Vec::new(), 0);
            for chunk in bytes.chunks(size) {
                frames.pass(chunk, |header| {
                    lengths.push(header.length);
                    ends += usize::from(ends_call(header));
                });
            }
            assert_eq!((lengths.as_slice(), ends, frames.is_between()), ([3, 0, 20].as_slice(), 2, true), "by {size}");
        }
    }
}
