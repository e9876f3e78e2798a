//! The steps of a driver: done, verified, repaired, undone. No other code does so.

mod endpoint;
mod network;
mod sandbox;
mod undo;

pub use endpoint::{EndpointFault, connect, connect_whole, endpoint_fault, rejoin};
pub use network::{NetworkFault, ensure, ensure_settings, make, network_faults};
pub use sandbox::wire;
pub use undo::{close, is_there, undo};
