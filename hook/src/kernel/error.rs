use std::io;

use nix::errno::Errno;

use crate::model::InterfaceName;

/// The kernel or the host refused something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or netlink request failed.
    #[error("{what}: {}", describe(.source))]
    Refused {
        /// What was tried, with the object's name.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file that must be regular is something else: a directory, a FIFO, a socket, a device, a link to itself.
    #[error("{what}: is not a regular file")]
    NotRegular {
        /// What was tried, with the object's name.
        what: String,
    },
    /// The host has a link with the name that ours needs.
    #[error("interface {name} is there already; its alias is {alias:?}")]
    Taken {
        /// The name.
        name: InterfaceName,
        /// The link's alias, which tells whether it is ours.
        alias: String,
    },
    /// Another process, link or file is in the way.
    #[error("{0}")]
    Busy(String),
    /// A resource is used up.
    #[error("{0}")]
    Exhausted(String),
    /// A wait reached its deadline.
    #[error("{0}")]
    Deadline(String),
    /// A program of the host is missing or failed.
    #[error("{0}")]
    Program(String),
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `source` is the error of doing `what`.
    pub fn refused(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Refused { what: what.into(), source: source.into() }
    }

    /// Whether a resource of the host was short, or the call was interrupted. Then the error says nothing about the
    /// object of the call.
    pub fn is_shortage(&self) -> bool {
        const SHORTAGES: [i32; 9] = [
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::ENOBUFS,
            libc::ENOSPC,
            libc::ENOLCK,
            libc::EAGAIN,
            libc::EINTR,
            libc::EIO,
        ];
        self.errno().is_some_and(|code| SHORTAGES.contains(&code))
    }

    /// The error number, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Adds the text of `what` to an error.
pub(super) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::refused(what(), source))
    }
}

/// The kernel's message without Rust's "(os error 1)".
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code @ (libc::EPERM | libc::EACCES)) => {
            let refusal = Errno::from_raw(code).desc();
            format!(
                "{refusal} (ocinet needs root on the host, with CAP_NET_ADMIN and CAP_SYS_ADMIN; it cannot wire rootless containers)"
            )
        }
        Some(code) => Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}
