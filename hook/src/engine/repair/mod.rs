//! Repair: what dead containers left, a lost store, damage to links and rules.

mod collect;
mod firewall;
mod inventory;
mod look;
mod name_servers;
mod neighbours;
mod network;
mod questions;
mod rebuild;
mod retry;
mod standing;

pub use collect::Collected;

pub(super) use rebuild::RebuildContext;
pub(super) use retry::Try;
pub(super) use standing::Connected;
