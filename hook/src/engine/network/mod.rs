//! Networks: how they are defined, their bridges, and the forwarding that they need.

mod define;
mod forwarding;
mod shared;

pub use define::default_network;

pub(super) use define::default_interface;
