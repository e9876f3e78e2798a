//! Networks: how they are defined, and what their endpoints share on the host.

mod define;
mod definitions;
mod shared;

pub use define::default_network;
pub use definitions::Definitions;

pub(super) use define::default_interface;
