//! Namespaces and the processes in them: making, entering and recognising them, and work inside them.

mod mount;
mod netns;
mod process;
mod uts;
mod visit;

pub use mount::{Missing, Overlay, mount_over};
pub use netns::Netns;
pub use process::{Origin, Process, ancestor, ancestor_of, in_background, own_program, process_start};
pub use uts::{hostname, set_hostname};
