//! The claim to be the one resident process of its role on a host, and the socket that goes with it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use nix::sys::stat::{Mode, umask};

use super::Role;
use crate::engine::{Error, Result};
use crate::kernel::{self, Lock, LockFile, is_listened_to};

/// Whether a process holds the claim of `role`.
///
/// # Errors
/// When the lock file cannot be asked.
pub fn is_taken(role: &Role, state_dir: &Path) -> Result<bool> {
    Ok(locks(state_dir).is_held(role.place)?)
}

fn locks(state_dir: &Path) -> LockFile {
    LockFile::of(state_dir)
}

/// The claim. It is held until the process ends, however it ends.
pub struct Claim {
    /// The socket.
    path: PathBuf,
    /// The socket that a service manager passed. It stays when this process ends.
    given: Option<UnixListener>,
    /// The claim itself.
    lock: Lock,
}

impl Claim {
    /// Takes the claim if no process holds it, and removes a socket that a killed process left.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another process holds it.
    pub fn take(role: &Role, state_dir: &Path) -> Result<Self> {
        let path = state_dir.join(role.socket);
        let taken = || Error::Conflict(format!("another process serves {} already", path.display()));
        let refused =
            |what: &str, error: io::Error| kernel::Error::refused(format!("{what} {}", path.display()), error);
        let lock = locks(state_dir).attempt(role.place)?.ok_or_else(taken)?;
        let given = ListenFd::from_env().take_unix_listener(0).map_err(|error| refused("take over", error))?;
        if given.is_none() {
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(meta) if meta.file_type().is_socket() => {
                    if is_listened_to(&path).map_err(|error| refused("connect to", error))? {
                        return Err(taken());
                    }
                    fs::remove_file(&path).map_err(|error| refused("remove", error))?;
                }
                Ok(_) => return Err(refused("listen on", io::Error::other("there is a file that is no socket")).into()),
                Err(error) => return Err(refused("look at", error).into()),
            }
        }
        Ok(Self { path, given, lock })
    }

    /// The claim that another program of this process held, by the descriptor of [`Claim::held_by`].
    ///
    /// # Errors
    /// When it is not held.
    pub fn taken_over(role: &Role, state_dir: &Path, descriptor: OwnedFd) -> Result<Self> {
        let lock = locks(state_dir).taken_over(role.place, descriptor)?;
        Ok(Self { path: state_dir.join(role.socket), given: None, lock })
    }

    /// What holds it.
    pub fn held_by(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket, which only root can connect to.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&self) -> Result<UnixListener> {
        let what = || format!("listen on {}", self.path.display());
        let listener = match &self.given {
            Some(given) => given.try_clone(),
            None => {
                let before = umask(Mode::from_bits_truncate(0o177));
                let bound = UnixListener::bind(&self.path);
                umask(before);
                bound
            }
        };
        let listener = listener.map_err(|error| kernel::Error::refused(what(), error))?;
        listener.set_nonblocking(true).map_err(|error| kernel::Error::refused(what(), error))?;
        Ok(listener)
    }

    /// Removes the socket, so that the next call that needs the process starts another one. The socket of a service
    /// manager stays.
    pub fn withdraw(&self) {
        if self.given.is_none() {
            // The process ends, so an error cannot be reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}
