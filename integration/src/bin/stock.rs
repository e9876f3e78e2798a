//! A stock shim for private hosts, made with containerd's own crate for shims. It speaks the whole protocol of a shim
//! but runs no containers. It reads the call and answers it as containerd 2.3 does where it was called so, and else in
//! the earlier form.

use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim::protos::api::{Empty, ShutdownRequest};
use containerd_shim::protos::shim_async::Task;
use containerd_shim::protos::ttrpc::r#async::TtrpcContext;
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::{Config, DeleteResponse, Error, ExitSignal, Flags, Shim, StartOpts, TtrpcResult, run, spawn};

/// The shim. It has no tasks.
#[derive(Clone)]
struct Stock(Arc<ExitSignal>);

#[async_trait]
impl Shim for Stock {
    type T = Self;

    async fn new(_runtime: &str, _flags: &Flags, config: &mut Config) -> Self {
        // The crate logs to the FIFO `log` in the bundle, and the tests have no reader for it.
        config.no_setup_logger = true;
        Self(Arc::default())
    }

    async fn start_shim(&mut self, options: StartOpts) -> Result<String, Error> {
        let group = options.id.clone();
        spawn(options, &group, Vec::new()).await
    }

    async fn delete_shim(&mut self) -> Result<DeleteResponse, Error> {
        // One second after the epoch. The answer then holds bytes that are also valid text.
        Ok(DeleteResponse { exit_status: 7, exited_at: Some(Default::default()).into(), ..Default::default() })
    }

    async fn wait(&mut self) {
        self.0.wait().await;
    }

    async fn create_task_service(&self, _publisher: RemotePublisher) -> Self {
        self.clone()
    }
}

#[async_trait]
impl Task for Stock {
    async fn shutdown(&self, _context: &TtrpcContext, _request: ShutdownRequest) -> TtrpcResult<Empty> {
        self.0.signal();
        Ok(Empty::default())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    run::<Stock>("io.containerd.stock.v2", None).await;
}
