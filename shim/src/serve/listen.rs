use std::os::unix::net::UnixListener;
use std::time::Duration;

use futures::stream;
use ocinet::kernel;
use ocinet_proto::ttrpc::r#async::transport::Listener;
use tokio::time::sleep;

use super::connection::{Clients, Connection};

/// Accepts clients.
pub fn accept(listener: UnixListener, clients: Clients) -> kernel::Result<Listener> {
    let listener = tokio::net::UnixListener::from_std(listener);
    let listener = listener.map_err(|error| kernel::Error::refused("listen", error))?;
    let connections = stream::unfold((listener, clients), async |(listener, clients)| {
        loop {
            match listener.accept().await {
                // A client above the limit is disconnected at once and does not wait.
                Ok((stream, _)) => {
                    if let Some(client) = clients.admit() {
                        return Some((Ok(Connection::new(stream, client)), (listener, clients)));
                    }
                }
                // There is no descriptor or no memory left. The client waits, and accepting is tried again.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    });
    Ok(Listener::new(connections))
}
