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
mod listeners;
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
pub use conntrack::Conntrack;
pub use error::{Error, Result};
pub use file::{
    boot_id, check_state_dir, is_listened_on, names_in, read_regular, read_stdin, remove_file, remove_socket,
    room_beside, state_dir,
};
pub use inside::{Found, Inside, interface_in, namespaces};
pub use late::chains_behind_security;
pub use link::{HostLinks, NO_GUARD, OurLink, StandingBridge, Uplink, is_lasting};
pub use listeners::Listeners;
pub use lock::{Lock, LockFile, Place};
pub use memory::{hurry_memory, return_memory, spare_memory};
pub use mount::{Missing, Overlay, mount_over};
pub use neighbours::{Neighbours, change_zone, close_passage, open_passage};
pub use netns::Netns;
pub use ports::{FreeRange, is_local};
pub use process::{Origin, Process, ancestor, ancestor_of, in_background, own_program, process_start};
pub use replace::{Replaceable, write_public};
pub use sandbox::wire;
pub use sandbox_files::{
    age, make_namespace, move_directory, namespace_in, random_hex, remove_files, remove_if_empty, rewrite, write_files,
};
pub use sysctl::{forwarding, frames_pass_ip_hooks, is_set, set, strict_reverse_path, switch_forwarding_off};
pub use terminal::terminal_columns;
pub use uts::{hostname, set_hostname};
pub use watch::{Seen, Watch};
