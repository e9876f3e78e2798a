//! The only code that touches the kernel, the host's files and its programs. It knows how; the engine knows when.

mod conntrack;
mod error;
mod file;
mod link;
mod lock;
mod netlink;
mod netns;
mod nftables;
mod ports;
mod process;
mod program;
mod random;
mod sandbox;
mod sysctl;

pub use conntrack::{flush_host_flows, flush_published_flows};
pub use error::{Error, Result};
pub use file::{boot_id, read_regular, read_stdin, state_dir};
pub use link::{HostLinks, Uplink};
pub use lock::{Lock, LockFile, Place};
pub use netns::Netns;
pub use nftables::Nftables;
pub use ports::{PortGuard, free_port, is_local, listener_on};
pub use process::{Origin, in_background, process_start};
pub use random::random;
pub use sandbox::wire;
pub use sysctl::{forwarding, switch_forwarding_on};
