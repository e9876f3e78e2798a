//! The ttrpc interface `ocinet.network.v1` and its generated code, nothing else.
//!
//! `proto/ocinet/network/v1/network.proto` is the interface, and says what each call does; what is here follows from
//! it. A client in another language takes that file alone.
//!
//! ```no_run
//! use ocinet_proto::v1::{ListRequest, NetworkClient};
//!
//! # async fn list() -> ttrpc::Result<()> {
//! let client = NetworkClient::new(ttrpc::r#async::Client::connect(ocinet_proto::ADDRESS).await?);
//! let list = client.list(ttrpc::context::with_timeout(1_000_000_000), &ListRequest::new()).await?;
//! for container in &list.containers {
//!     println!("{} {}", container.id, container.name);
//! }
//! # Ok(())
//! # }
//! ```

pub use protobuf;
pub use ttrpc;

/// Where the service is found, unless it was told another state directory.
pub const ADDRESS: &str = "unix:///run/ocinet/ocinet.sock";

// Generated code follows no style of ours.
#[allow(missing_docs, clippy::all, clippy::unwrap_used, unused_qualifications)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

/// Version 1: messages, the client `NetworkClient`, and for servers the trait `Network`.
pub mod v1 {
    pub use super::generated::network::*;
    pub use super::generated::network_ttrpc::{Network as NetworkService, NetworkClient, create_network};
}
