//! Networks: how they are defined, and what their endpoints share on the host.

mod choose;
mod create;
mod define;
mod definitions;
mod macs;
mod shared;

pub use define::default_network;
pub use definitions::{Definitions, Lifetime};

pub(super) use define::{default_interface, no_such};
pub(super) use macs::remember_mac;
