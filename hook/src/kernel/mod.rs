//! The only code that calls the kernel, and uses the host's files and programs. The engine decides what is done, and
//! when.
//!
//! Each of these folders imports only those before it: `namespace` < `page_cache` < `fs` < `netlink` < `firewall`.

mod answering;
mod become_program;
mod changed_settings;
mod child_process;
mod clock;
mod error;
mod firewall;
mod forwarding;
mod fs;
mod in_namespace;
mod memory;
mod namespace;
mod netlink;
mod page_cache;
pub mod perform;
mod ports;
mod proc;
mod resident;
mod start;
mod survey;
mod sysctl;
mod terminal;

pub use answering::settings_to_answer;
pub use become_program::{become_program, become_reader};
pub use changed_settings::{make_changes, put_back};
pub use child_process::start_resident;
pub use clock::processor_time;
pub use error::{Error, Result};
pub use firewall::{
    Choice, ForeignFirewalls, add_pass, backend, chains_behind_security, change_zone, choose, loaded, remove_pass,
    suits,
};
pub use forwarding::{
    changes_to_forward, forwarding, forwarding_setting, forwarding_settings, forwards_link_by_link,
    refuse_partial_forwarding, refuse_unforwardable, switch_forwarding_off, switch_forwarding_on,
};
pub use fs::{
    Lock, LockFile, Place, RecordReader, Records, Replaceable, Seen, Watch, age, ask_line, boot_id, check_state_dir,
    has_drafts, identity_of, is_gone, is_listened_on, is_listened_to, machine_id, make_namespace, move_directory,
    names_in, namespace_in, now, random_hex, read_regular, read_stdin, remove_drafts, remove_file, remove_files,
    remove_if_empty, remove_socket, rewrite, room_beside, state_dir, write_files, write_lasting, write_private,
    write_public,
};
pub use in_namespace::{ContainerInterface, Found, interface_in, namespaces, taken_in};
pub use memory::{hurry_memory, return_memory, spare_memory};
pub use namespace::{
    Missing, Namespaces, Netns, Origin, Overlay, Process, ancestor, ancestor_of, hostname, in_background, mount_over,
    own_program, process_start, set_hostname,
};
pub use netlink::{
    Flows, HostLinks, Listeners, NO_GUARD, NO_REDIRECT, OurLink, Traffic, Trial, Uplink, is_lasting, try_links,
};
pub use page_cache::{
    Folios, Warmed, folios_of, go_on_from_memory, has_large_folios, hinders, installed_programs, warm,
};
pub use ports::{FreeRange, is_local};
pub use resident::{hand_over, reset_inherited, take_over};
pub use start::start;
pub use survey::{has_all_ids, is_program, is_root, kernel_release, missing_rights, program, search_path_of, told_by};
pub use sysctl::{frames_pass_ip_hooks, frames_to_ip_hooks, is_set, neighbour_limit, set, strict_reverse_path};
pub use terminal::{has_no_reader, terminal_columns};
