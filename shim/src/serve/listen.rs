use std::os::unix::net::UnixListener;
use std::time::Duration;

use futures::stream;
use ocinet::kernel;
use ocinet_proto::ttrpc::r#async::transport::Listener;
use tokio::time::sleep;

use super::connection::{Clients, Connection};

/// Lets clients in.
pub fn accept(listener: UnixListener, clients: Clients) -> kernel::Result<Listener> {
    let listener = tokio::net::UnixListener::from_std(listener);
    let listener = listener.map_err(|error| kernel::Error::refused("listen", error))?;
    let connections = stream::unfold((listener, clients), async |(listener, clients)| {
        loop {
            match listener.accept().await {
                // One too many is sent away, and not left waiting for others to go.
                Ok((stream, _)) => {
                    if let Some(client) = clients.admit() {
                        return Some((Ok(Connection::new(stream, client)), (listener, clients)));
                    }
                }
                // No descriptor or no memory is left: it may come back, and the client waits.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(Listener::new(connections))
}
