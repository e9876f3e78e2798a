//! The steps of a driver: done, verified, repaired, undone. Of what they make, only `reset` takes something away
//! elsewhere: links of networks that are in no store, which it finds by their alias.

mod endpoint;
mod names;
mod network;
mod sandbox;
mod standing;
mod undo;

pub use endpoint::{EndpointFault, connect, connect_whole, endpoint_fault, rejoin};
pub use names::{
    existing_names_namespace, has_bridge, is_names_namespace, is_port_there, names_namespace, remove_names_namespace,
    remove_port,
};
pub use network::{NetworkFault, ensure, ensure_settings, make, network_faults, undo_network};
pub use sandbox::{has_ipv6_off, has_way_out, inside};
pub use standing::undone;
pub use undo::{is_there, permanent_neighbours, shut, undo};
