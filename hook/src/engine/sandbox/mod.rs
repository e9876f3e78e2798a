//! One container: its lease, its attach, and the call for its detach.

mod address;
mod ahead;
mod attach;
mod bundle;
mod conflict;
mod connect;
mod detach;
mod disconnect;
mod endpoint;
#[cfg(test)]
mod fixture;
mod kept;
mod lease;
mod member;
mod outcome;
mod ports;
mod prepare;
#[cfg(test)]
mod second_driver;

pub use bundle::bundle_of;
pub use connect::Kept;
pub use member::NetnsOwner;
pub use outcome::Outcome;
pub use prepare::{OpenBundle, edit_for};

pub(super) use connect::add_endpoint;
pub(super) use lease::{AskedNetworks, LeaseRequest, grant, intent, no_address};
pub(super) use outcome::{LeaseConflict, Leased};
