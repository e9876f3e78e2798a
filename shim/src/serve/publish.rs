//! Publishing to containerd, so that its own subscribers get the events of networks too.
//!
//! The publisher of the crate containerd-shim (0.12) is not used. It repeats an event that it could not deliver up to
//! five times, after later events, so that a detach may come before its attach. It connects without a deadline, in one
//! of the threads that calls need. Here each containerd has a task of its own, in which an event has one connection and
//! one try. A containerd that does not take its events loses them, and delays no other one. A subscriber that must not
//! miss any event follows our own stream.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::events::container::ContainerUpdate;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Error, Message, MessageFull};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::EventsClient;
use ocinet_proto::ttrpc::context;
use ocinet_proto::v1::event::Kind;
use ocinet_proto::v1::{Container, Event};
use slog::{Logger, info, warn};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{self, Sender, error::TrySendError};

use super::containerds::Containerd;
use crate::{convert, dial};

/// How long containerd may take to accept a connection, and then for an event.
const PATIENCE: Duration = Duration::from_secs(5);

/// The number of events that may wait for a slow containerd.
const BACKLOG: usize = 256;

/// Publishes the events of containers of the containerds known in `state_dir`, without end.
pub async fn publish(state_dir: PathBuf, mut events: Receiver<Arc<Event>>, log: Logger) {
    let mut queues: HashMap<Containerd, Queue> = HashMap::new();
    loop {
        match events.recv().await {
            Ok(event) => {
                let known = Containerd::all(&state_dir).unwrap_or_else(|error| {
                    warn!(log, "cannot look which containerds are known: {error}; going on with those so far");
                    queues.keys().cloned().collect()
                });
                queues.retain(|containerd, _| known.contains(containerd));
                for containerd in known {
                    if containerd.namespace_of(&event.container.bundle).is_some() {
                        let queue =
                            queues.entry(containerd).or_insert_with_key(|it| Queue::new(it.clone(), log.clone()));
                        queue.push(event.clone());
                    }
                }
            }
            Err(RecvError::Lagged(missed)) => warn!(log, "{missed} events were not published to containerd"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// The events that are still to be sent to one containerd, in their order.
struct Queue {
    events: Sender<Arc<Event>>,
    address: String,
    is_full: bool,
    log: Logger,
}

impl Queue {
    fn new(containerd: Containerd, log: Logger) -> Self {
        let (events, waiting) = mpsc::channel(BACKLOG);
        let address = containerd.address.clone();
        tokio::spawn(deliver(containerd, waiting, log.clone()));
        Self { events, address, is_full: false, log }
    }

    /// Adds `event`, if there is room.
    fn push(&mut self, event: Arc<Event>) {
        let was_full = self.is_full;
        self.is_full = matches!(self.events.try_send(event), Err(TrySendError::Full(_)));
        if self.is_full && !was_full {
            warn!(self.log, "containerd at {} has {BACKLOG} events to take: further ones are left out", self.address);
        }
    }
}

/// Sends one event after the other to `containerd`, until its queue is dropped.
async fn deliver(containerd: Containerd, mut events: mpsc::Receiver<Arc<Event>>, log: Logger) {
    let mut untold = 0;
    while let Some(event) = events.recv().await {
        match tell(&containerd, &event).await {
            Err(error) => {
                if untold == 0 {
                    warn!(log, "containerd at {} does not take events: {error}", containerd.address);
                }
                untold += 1;
            }
            Ok(()) if untold > 0 => {
                info!(log, "containerd at {} takes events again; it missed {untold}", containerd.address);
                untold = 0;
            }
            Ok(()) => {}
        }
    }
}

async fn tell(containerd: &Containerd, event: &Event) -> io::Result<()> {
    let namespace = containerd.namespace_of(&event.container.bundle).unwrap_or_default();
    let Some(envelope) = envelope(namespace, event).map_err(io::Error::other)? else { return Ok(()) };
    let request = ForwardRequest { envelope: Some(envelope).into(), ..Default::default() };
    let client = EventsClient::new(dial::client(Path::new(&containerd.address), PATIENCE).await?);
    client.forward(context::with_duration(PATIENCE), &request).await.map(drop).map_err(io::Error::other)
}

/// The event in a message type that every subscriber of containerd knows, `ctr events` too. It could not decode another
/// type.
fn envelope(namespace: &str, event: &Event) -> Result<Option<Envelope>, Error> {
    let topic = match event.kind.enum_value() {
        Ok(Kind::KIND_ATTACHED) => "/ocinet/attach",
        Ok(Kind::KIND_DETACHED) => "/ocinet/detach",
        _ => return Ok(None),
    };
    let (seconds, nanos) = (event.time_unix_nano / 1_000_000_000, event.time_unix_nano % 1_000_000_000);
    let time = Timestamp { seconds, nanos: i32::try_from(nanos).unwrap_or(0), ..Default::default() };
    let container = &event.container;
    let update = ContainerUpdate { id: container.id.clone(), labels: labels(container), ..Default::default() };
    let payload = Any {
        type_url: ContainerUpdate::descriptor().full_name().to_owned(),
        value: update.write_to_bytes()?,
        ..Default::default()
    };
    Ok(Some(Envelope {
        timestamp: Some(time).into(),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: Some(payload).into(),
        ..Default::default()
    }))
}

/// The labels of an event: the container's addresses and ports.
fn labels(container: &Container) -> HashMap<String, String> {
    let addresses: Vec<_> =
        container.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().cloned()).collect();
    let ports: Vec<_> = container.published.iter().map(convert::ports).collect();
    let labels = [
        ("io.ocinet.name", container.name.clone()),
        ("io.ocinet.addresses", addresses.join(",")),
        ("io.ocinet.published", ports.join(",")),
    ];
    labels.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)).collect()
}
