//! Decisions: what a container asks for and is called, which address and which ports it gets, which files and steps
//! that takes, whether it is alive. Pure: the caller says what the host has.

pub mod files;
pub mod identity;
pub mod ipam;
pub mod joined;
pub mod liveness;
pub mod moment;
pub mod names;
pub mod neighbours;
pub mod plan;
pub mod pool;
pub mod proxy;
pub mod published;
pub mod request;
mod similar;
pub mod uplinks;
pub mod way;

pub use similar::similar;
