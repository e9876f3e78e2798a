//! Connecting to Unix sockets with a deadline.
//!
//! connect(2) waits without end while the queue of the listener is full, which soon happens if the listener hangs. On a
//! non-blocking socket it returns EAGAIN instead (`unix_stream_connect`, net/unix/af_unix.c). No event shows when there
//! is room, so the connection is tried again.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use ocinet_proto::ttrpc::r#async::Client;
use ocinet_proto::ttrpc::r#async::transport::Socket;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// The pause before another try when the queue was full.
const RETRY: Duration = Duration::from_millis(50);

/// A client of the server that listens at `path`.
///
/// # Errors
/// When no program listens there, or it has not accepted earlier connections within `patience`.
pub async fn client(path: &Path, patience: Duration) -> io::Result<Client> {
    let connected = timeout(patience, async {
        loop {
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(RETRY).await,
                connected => return connected,
            }
        }
    });
    let stream = connected.await.map_err(|_| {
        let why = format!("the program that listens there accepted no connection within {} s", patience.as_secs());
        io::Error::new(ErrorKind::TimedOut, why)
    })?;
    Ok(Client::new(Socket::from(stream?)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use super::*;

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ocinet-dial-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    /// A listener whose queue is full, with the connection that fills it.
    fn deaf(path: &Path) -> (UnixListener, UnixStream) {
        let listener = UnixListener::bind(path).unwrap();
        // A second listen(2) changes the length of the queue.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let queued = UnixStream::connect(path).unwrap();
        (listener, queued)
    }

    #[test]
    fn a_full_queue_is_waited_for_until_the_deadline() {
        let path = path("full");
        let (listener, queued) = deaf(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(client(&path, Duration::from_millis(120))).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let accepting = std::thread::spawn(move || listener.accept().map(|_| listener.accept().map(drop)));
        assert!(runtime.block_on(client(&path, Duration::from_secs(20))).is_ok(), "there is room now");
        accepting.join().unwrap().unwrap().unwrap();
        drop(queued);
        fs::remove_file(&path).unwrap();
    }
}
