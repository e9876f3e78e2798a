//! Networks: how they are defined, and what their endpoints share on the host.

mod choose;
mod declared;
mod define;
mod definitions;
mod macs;
mod proxy;
mod shared;

pub use define::default_network;
pub use definitions::{Definitions, Lifetime};

pub(super) use choose::{Hidden, Others};
pub(super) use declared::Declared;
pub(super) use define::{default_interface, no_such, not_defined, with_default};
pub(super) use macs::remember_mac;
