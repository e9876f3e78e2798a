//! What every resident process needs: to be the only one on its host, to be started on demand, to leave the control
//! groups and mounts of its starter, and to follow attaches and detaches.

mod change;
mod claim;
mod demand;
mod follow;
mod leave;

pub use change::{Change, Known};
pub use claim::{Claim, is_taken};
pub use demand::ensure;
pub use follow::Follower;
pub use leave::leave_starter;

use crate::kernel::Place;

/// A kind of resident process, of which a host has one for each state directory.
pub struct Role {
    /// Its lock, which it holds as long as it lives.
    pub place: Place,
    /// Its socket in the state directory.
    pub socket: &'static str,
    /// The arguments of this program that start it on demand, before `--state-dir`.
    pub arguments: &'static [&'static str],
}
