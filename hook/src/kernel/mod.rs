//! The only code that touches the kernel, the host's files and its programs. It knows how; the engine knows when.

mod apart;
mod backend;
mod conntrack;
mod error;
mod file;
mod inside;
mod iptables;
mod late;
mod link;
mod lock;
mod memory;
mod mount;
mod neighbours;
mod netlink;
mod netns;
mod nftables;
mod ports;
mod process;
mod program;
mod replace;
mod sandbox;
mod sandbox_files;
mod sysctl;
mod terminal;
mod uts;
mod watch;
mod xtables;

pub use backend::{Choice, backend, choose, loaded, suits};
pub use conntrack::{flush_host_flows, flush_published_flows};
pub use error::{Error, Result};
pub use file::{boot_id, names_in, read_regular, read_stdin, room_beside, state_dir, write_public};
pub use inside::{Found, Inside, interface_in, namespaces};
pub use late::chains_behind_security;
pub use link::{HostLinks, NO_GUARD, OurLink, Uplink};
pub use lock::{Lock, LockFile, Place};
pub use memory::{hurry_memory, return_memory, spare_memory};
pub use mount::{Overlay, mount_over};
pub use neighbours::{Neighbours, change_zone, close_passage, open_passage};
pub use netns::Netns;
pub use ports::{PortGuard, free_port, is_local, listener_on};
pub use process::{Origin, Process, ancestor, in_background, own_program, process_start};
pub use replace::Replaceable;
pub use sandbox::wire;
pub use sandbox_files::{make_namespace, namespace_in, remove_files, remove_if_empty, write_files};
pub use sysctl::{
    forwarding, frames_pass_ip_hooks, guard_bridge, open_guards, strict_reverse_path, switch_forwarding_off,
    switch_forwarding_on,
};
pub use terminal::terminal_columns;
pub use uts::{hostname, set_hostname};
pub use watch::{Seen, Watch};
