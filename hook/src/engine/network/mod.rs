//! Networks: how they are defined, and what their endpoints share on the host.

mod define;
mod shared;

pub use define::default_network;

pub(super) use define::default_interface;
