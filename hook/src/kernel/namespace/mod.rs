//! Namespaces and the processes in them: making, entering and recognising them, and work inside them.

mod mount;
mod netns;
mod process;
mod running;
mod uts;
mod visit;

pub use mount::{Missing, Overlay, mount_over};
pub use netns::Netns;
pub(super) use netns::cookie_of;
pub(in crate::kernel) use process::close_streams;
pub use process::{Process, ancestor, ancestor_of, in_background, own_program};
pub use running::{Namespaces, Origin, process_start};
pub use uts::{hostname, set_hostname};
