//! The events of the host for all subscribers.

use std::sync::Arc;
use std::thread;

use ocinet::engine::Result;
use ocinet::kernel;
use ocinet::resident::{Change, Follower};
use ocinet_proto::v1::Event;
use ocinet_proto::v1::event::Kind;
use tokio::sync::{broadcast, oneshot};

use crate::convert;

/// The number of events by which a reader may fall behind.
const BACKLOG: usize = 256;

/// The source of events.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<Arc<Event>>);

impl Feed {
    /// A feed without a follower yet.
    pub fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    /// Passes on the changes of `follower` until the file `token` in the state directory, or the directory, is removed:
    /// then the receiver gets a message. It also gets the error with which the follower ended.
    ///
    /// # Errors
    /// When no thread can be made for it.
    pub fn follow(&self, mut follower: Follower, token: &'static str) -> Result<oneshot::Receiver<Result<()>>> {
        let (end, ended) = oneshot::channel();
        let feed = self.clone();
        // The receiver is gone if the service ends for another reason.
        let follow = move || drop(end.send(feed.pass_on(&mut follower, token)));
        let thread = thread::Builder::new().name("follow".into()).stack_size(512 << 10).spawn(follow);
        thread.map_err(|error| kernel::Error::refused("start a thread", error))?;
        Ok(ended)
    }

    fn pass_on(&self, follower: &mut Follower, token: &str) -> Result<()> {
        while let Some(changes) = follower.next(token)? {
            for change in changes {
                // An error only means that there is no subscriber.
                let _ = self.0.send(Arc::new(event_of(change)));
            }
        }
        Ok(())
    }

    /// The events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }
}

fn event_of(change: Change) -> Event {
    match change {
        Change::Attached(sandbox) => convert::attached(&sandbox),
        Change::Detached(known) => convert::detached(known),
        Change::Connected(sandbox, network) => convert::connection_event(Kind::KIND_CONNECTED, &sandbox, &network),
        Change::Disconnected(sandbox, network) => {
            convert::connection_event(Kind::KIND_DISCONNECTED, &sandbox, &network)
        }
        Change::NetworkCreated(name) => convert::network_event(Kind::KIND_NETWORK_CREATED, &name),
        Change::NetworkRemoved(name) => convert::network_event(Kind::KIND_NETWORK_REMOVED, &name),
    }
}
