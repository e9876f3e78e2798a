//! What happens on the host, for everybody who wants to know.

use std::sync::Arc;
use std::thread;

use ocinet::engine::Result;
use ocinet::kernel;
use ocinet::resident::{Change, Follower};
use ocinet_proto::v1::Event;
use tokio::sync::{broadcast, oneshot};

use crate::convert;

/// How far a reader may fall behind.
const BACKLOG: usize = 256;

/// Where events come from.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<Arc<Event>>);

impl Feed {
    /// One that nothing is told to yet.
    pub fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    /// Passes on what `follower` tells, until the file `token` in the state directory is removed, or the directory: then the
    /// receiver is told. It is also told of the error with which the follower has ended.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub fn follow(&self, mut follower: Follower, token: &'static str) -> Result<oneshot::Receiver<Result<()>>> {
        let (end, ended) = oneshot::channel();
        let feed = self.clone();
        // A service that ends for another reason does not wait for this.
        let follow = move || drop(end.send(feed.pass_on(&mut follower, token)));
        let thread = thread::Builder::new().name("follow".into()).stack_size(512 << 10).spawn(follow);
        thread.map_err(|error| kernel::Error::refused("start a thread", error))?;
        Ok(ended)
    }

    fn pass_on(&self, follower: &mut Follower, token: &str) -> Result<()> {
        while let Some(changes) = follower.next(token)? {
            for change in changes {
                // An error says that there is no subscriber.
                let _ = self.0.send(Arc::new(event(change)));
            }
        }
        Ok(())
    }

    /// What happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }
}

fn event(change: Change) -> Event {
    match change {
        Change::Attached(sandbox) => convert::attached(&sandbox),
        Change::Detached(known) => convert::detached(known),
    }
}
