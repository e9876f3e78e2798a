//! ocinet wires the network of OCI containers, without a daemon.
//!
//! The floors, each importing only lower ones: [`model`] < [`oci`], [`config`] < [`request`], [`ipam`], [`driver`],
//! [`firewall`] < [`kernel`], [`store`] < [`engine`] < `cli`. ARCHITECTURE.md tells the way through them.

pub mod driver;
pub mod engine;
pub mod files;
pub mod firewall;
pub mod identity;
pub mod input;
pub mod ipam;
pub mod kernel;
pub mod liveness;
pub mod log;
pub mod model;
pub mod plan;
pub mod request;
pub mod spec;
pub mod store;
