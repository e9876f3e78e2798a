//! One container: its attach, its lease, its files, its detach.

mod ahead;
mod attach;
mod bundle;
mod close;
mod detach;
mod files;
mod lease;
mod member;
mod ports;
mod prepare;
#[cfg(test)]
mod second_driver;
mod spec_files;

pub use attach::Outcome;
pub use bundle::bundle_of;
pub use member::NetnsOwner;
pub use prepare::{OpenBundle, edit_for};
pub use spec_files::{discard_files_of, files_to_fill};

pub(super) use files::{CONTAINERS, host_resolver};
pub(super) use lease::{LeaseConflict, LeaseRequest, grant, intent, no_address};
pub(super) use ports::Ports;
