//! Telling containerd, whose own subscribers then hear of networks too.
//!
//! The publisher of the crate containerd-shim is not used: what it cannot deliver at once it delivers in another order, a detach before
//! its attach. Here an event has one connection and one try; whoever wants to miss none follows our own stream.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::events::container::ContainerUpdate;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{Error, Message, MessageFull};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use ocinet_proto::ttrpc::{self, context};
use ocinet_proto::v1::event::Kind;
use ocinet_proto::v1::{Container, Event};
use slog::{Logger, debug, warn};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::containerds::Containerd;
use crate::convert;

/// How long containerd may take for an event.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes what happens to containers of the containerds known in `state_dir`, without end.
pub async fn publish(state_dir: PathBuf, mut events: Receiver<Arc<Event>>, log: Logger) {
    loop {
        match events.recv().await {
            Ok(event) => {
                let bundle = &event.container.bundle;
                let containerds = Containerd::all(&state_dir);
                for containerd in &containerds {
                    let Some(namespace) = containerd.namespace_of(bundle) else { continue };
                    if let Err(error) = tell(containerd, namespace, &event).await {
                        debug!(log, "containerd at {} was not told: {error}", containerd.address);
                    }
                }
            }
            Err(RecvError::Lagged(missed)) => warn!(log, "containerd takes events too slowly: {missed} are left out"),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn tell(containerd: &Containerd, namespace: &str, event: &Event) -> ttrpc::Result<()> {
    let wrong = |error: Error| ttrpc::Error::Others(error.to_string());
    let Some(envelope) = envelope(namespace, event).map_err(wrong)? else { return Ok(()) };
    let request = ForwardRequest { envelope: Some(envelope).into(), ..Default::default() };
    let told = async {
        let client = Client::connect(&format!("unix://{}", containerd.address)).await?;
        EventsClient::new(client).forward(context::with_duration(PATIENCE), &request).await.map(drop)
    };
    let late = |_| ttrpc::Error::Others(format!("it took longer than {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, told).await.map_err(late)?
}

/// The event in a type that every subscriber of containerd has, `ctr events` too: of one that it has not, it could show nothing.
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

/// What a subscriber wants to know: how it is reached.
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
