//! The steps of a driver: done, verified, repaired, undone. Of what it makes, only `reset`
//! takes something away elsewhere: it finds bridges of ours by their alias.

mod endpoint;
mod network;
mod sandbox;
mod undo;

pub use endpoint::{EndpointFault, connect, connect_whole, endpoint_fault, rejoin};
pub use network::{NetworkFault, ensure, ensure_settings, make, network_faults};
pub use sandbox::inside;
pub use undo::{close, is_there, undo};
