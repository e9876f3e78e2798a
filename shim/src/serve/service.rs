//! The ttrpc interface. Each call is passed on to one of the host's functions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ocinet::engine;
use ocinet::kernel;
use ocinet_proto::ttrpc::r#async::{ServerStreamSender, TtrpcContext};
use ocinet_proto::ttrpc::{self, Code, get_status};
use ocinet_proto::v1::*;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::feed::Feed;
use super::host::Host;
use crate::convert;

/// The interval at which a silent stream sends a heartbeat. A failed heartbeat also shows that the client is gone.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The service of one host.
pub struct Service {
    host: Arc<Host>,
    /// The events, for those who follow them.
    feed: Feed,
}

impl Service {
    pub fn new(host: Host, feed: Feed) -> Self {
        Self { host: Arc::new(host), feed }
    }

    /// Runs a function of the host, which may block, in another thread. It runs to its end even if the client
    /// disconnects.
    async fn call<T: Send + 'static>(
        &self,
        function: impl FnOnce(&Host) -> engine::Result<T> + Send + 'static,
    ) -> ttrpc::Result<T> {
        let host = self.host.clone();
        let done = spawn_blocking(move || {
            let done = function(&host);
            kernel::return_memory();
            done
        });
        let done =
            done.await.map_err(|error| ttrpc::Error::RpcStatus(get_status(Code::INTERNAL, error.to_string())))?;
        done.map_err(|error| convert::status(&error))
    }
}

#[async_trait]
impl NetworkService for Service {
    async fn attach(&self, _: &TtrpcContext, request: AttachRequest) -> ttrpc::Result<AttachResponse> {
        self.call(|host| host.attach(request)).await
    }

    async fn detach(&self, _: &TtrpcContext, request: DetachRequest) -> ttrpc::Result<DetachResponse> {
        self.call(|host| host.detach(request)).await
    }

    async fn inspect(&self, _: &TtrpcContext, request: InspectRequest) -> ttrpc::Result<InspectResponse> {
        self.call(move |host| host.inspect(&request)).await
    }

    async fn list(&self, _: &TtrpcContext, request: ListRequest) -> ttrpc::Result<ListResponse> {
        self.call(move |host| host.list(&request)).await
    }

    async fn list_networks(&self, _: &TtrpcContext, _: ListNetworksRequest) -> ttrpc::Result<ListNetworksResponse> {
        self.call(Host::list_networks).await
    }

    async fn inspect_network(
        &self,
        _: &TtrpcContext,
        request: InspectNetworkRequest,
    ) -> ttrpc::Result<InspectNetworkResponse> {
        self.call(move |host| host.inspect_network(&request)).await
    }

    async fn create_network(
        &self,
        _: &TtrpcContext,
        request: CreateNetworkRequest,
    ) -> ttrpc::Result<CreateNetworkResponse> {
        self.call(|host| host.create_network(request)).await
    }

    async fn remove_network(
        &self,
        _: &TtrpcContext,
        request: RemoveNetworkRequest,
    ) -> ttrpc::Result<RemoveNetworkResponse> {
        self.call(move |host| host.remove_network(&request)).await
    }

    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        self.call(|host| host.connect(request)).await
    }

    async fn disconnect(&self, _: &TtrpcContext, request: DisconnectRequest) -> ttrpc::Result<DisconnectResponse> {
        self.call(move |host| host.disconnect(&request)).await
    }

    async fn check(&self, _: &TtrpcContext, _: CheckRequest) -> ttrpc::Result<CheckResponse> {
        self.call(Host::check).await
    }

    async fn events(&self, _: &TtrpcContext, _: EventsRequest, client: ServerStreamSender<Event>) -> ttrpc::Result<()> {
        let mut events = self.feed.subscribe();
        client.send(&convert::watching()).await?;
        loop {
            match timeout(HEARTBEAT, events.recv()).await {
                Ok(Ok(event)) => client.send(&event).await?,
                Ok(Err(RecvError::Closed)) => return Ok(()),
                Ok(Err(RecvError::Lagged(missed))) => {
                    let why = format!("the reader fell behind and missed {missed} events; list, and follow anew");
                    return Err(ttrpc::Error::RpcStatus(get_status(Code::RESOURCE_EXHAUSTED, why)));
                }
                Err(_) => client.send(&convert::watching()).await?,
            }
        }
    }
}
