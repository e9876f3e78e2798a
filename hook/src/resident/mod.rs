//! What every resident process needs: to follow what is attached and detached on this host, by any process.

mod follow;

pub use follow::{Change, Follower, Known};
