//! The checker that ends every story. It verifies two things:
//!
//! 1. The store and the kernel agree one to one: every endpoint has its link, address and route, every published port
//!    its element, and there is no link or element of ours without a sandbox.
//! 2. All that is not ours is byte for byte what it was before.

mod agreement;
mod elements;
mod snapshot;

pub(crate) use agreement::agreement;
pub use snapshot::Snapshot;
pub(crate) use snapshot::same;
