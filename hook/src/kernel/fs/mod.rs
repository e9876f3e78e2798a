//! Files of ours: the state directory and its locks, the files of containers, and what changes in them.

mod container;
mod file;
mod lock;
mod records;
mod replace;
mod rounds;
mod socket;
mod waits;
mod watch;

pub use container::{
    age, make_namespace, move_directory, namespace_in, random_hex, remove_files, remove_if_empty, rewrite, write_files,
};
pub use file::{
    boot_id, check_state_dir, identity_of, is_gone, machine_id, names_in, now, read_regular, read_stdin, remove_file,
    room_beside, state_dir, write_private,
};
pub use lock::{Lock, LockFile, Place};
pub use records::{RecordReader, Records};
pub use replace::{Replaceable, has_drafts, remove_drafts, write_lasting, write_public};
pub use socket::{ask_line, is_listened_on, is_listened_to, remove_socket};
pub use watch::{Seen, Watch};

pub(in crate::kernel) use file::create_private;
pub(in crate::kernel) use lock::holders;
