//! ocinet wires the network of OCI containers, without a daemon.
//!
//! The floors, each importing only lower ones: [`model`] < [`input`] < [`spec`] < [`driver`], [`firewall`] < [`decide`]
//! < [`kernel`], [`store`] < [`engine`] < `cli`. ARCHITECTURE.md tells the way through them.

pub mod decide;
pub mod driver;
pub mod engine;
pub mod firewall;
pub mod input;
pub mod kernel;
pub mod log;
pub mod model;
pub mod resident;
pub mod shell;
pub mod spec;
pub mod store;
