//! Repair: what dead containers left, a lost store, damage to links and rules; and the removal of everything.

mod collect;
mod doctor;
mod name_servers;
mod rebuild;
mod reset;
mod standing;

pub use collect::Collected;
pub use doctor::{Finding, Remedy};
pub use reset::{CONTAINERDS, Reset, SERVICE_SOCKET};

pub(super) use rebuild::RebuildContext;
