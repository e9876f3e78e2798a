use std::fmt;

use crate::model::{Alias, Invalid};
use crate::{kernel, store};

/// Why an attach or detach failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Another container or program has what was asked for.
    #[error("{0}")]
    Conflict(String),
    /// Nothing is left of what was asked for.
    #[error("{0}")]
    Exhausted(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The kernel or the host refused.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// What a loop over several containers failed at; it went on with the others.
    #[error(transparent)]
    Several(#[from] Failures),
    /// An attach failed, and taking it back failed too.
    #[error("{attach}; taking it back failed too: {detach}")]
    Rollback {
        /// The first failure.
        attach: Box<Error>,
        /// The second.
        detach: Box<Error>,
    },
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// The exit code of `explain` for a packet that does not arrive, apart from those of errors.
pub const DOES_NOT_ARRIVE: u8 = 6;
/// That for one which arrives where others let it pass, or once a damaged container is mended.
pub const LEFT_TO_OTHERS: u8 = 7;

impl Error {
    /// A failed look at something that the input names: the input is wrong, as `invalid` says with the kernel's reason,
    /// unless the host was short of something.
    pub(super) fn about_input(error: kernel::Error, invalid: impl FnOnce(String) -> Invalid) -> Self {
        if error.is_shortage() { error.into() } else { invalid(error.to_string()).into() }
    }

    /// This error, after what had been done was `undone`.
    #[must_use]
    pub fn after(self, undone: Result<()>) -> Self {
        match undone {
            Ok(()) => self,
            Err(detach) => Self::Rollback { attach: self.into(), detach: detach.into() },
        }
    }

    /// Whether it says that the store is not, or not any more, the host's.
    pub fn is_store_lost(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damage() || matches!(error, store::Error::Replaced(_)),
            // A link of ours has an address that the store gave out once more.
            Self::Kernel(kernel::Error::Taken { alias, .. }) => Alias::may_be_of_endpoint(alias),
            Self::Rollback { attach, detach } => attach.is_store_lost() || detach.is_store_lost(),
            _ => false,
        }
    }

    /// The exit codes of commands, and what they mean.
    pub const EXIT_CODES: [(u8, &str); 8] = [
        (0, "Done."),
        (1, "The kernel, the host or the store failed."),
        (2, "The input is invalid."),
        (3, "Another container or program has what was asked for."),
        (4, "Nothing is left of what was asked for."),
        (5, "What was named does not exist."),
        (DOES_NOT_ARRIVE, "`explain` alone: the packet does not arrive."),
        (
            LEFT_TO_OTHERS,
            "`explain` alone: it arrives where others than ocinet let it pass, or once a damaged container is mended.",
        ),
    ];

    /// The exit code of a command that fails with this, one of [`Error::EXIT_CODES`] up to 5.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => 2,
            Self::Conflict(_) | Self::Kernel(kernel::Error::Busy(_)) => 3,
            Self::Exhausted(_) | Self::Kernel(kernel::Error::Exhausted(_)) => 4,
            Self::NotFound(_) => 5,
            Self::Rollback { attach, .. } => attach.exit_code(),
            Self::Several(failures) => failures.exit_code(),
            Self::Kernel(_) | Self::Store(_) => 1,
        }
    }
}

/// The failures of a loop that goes on after each of them.
#[derive(Debug, Default)]
pub struct Failures(Vec<(String, Error)>);

impl Failures {
    /// Notes the failure of what was done about `subject`.
    ///
    /// # Errors
    /// Itself where the store is lost: then there is nothing to go on with.
    pub fn note<T>(&mut self, subject: impl fmt::Display, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_store_lost() => Err(error),
            Err(error) => {
                self.0.push((subject.to_string(), error));
                Ok(None)
            }
        }
    }

    /// The exit code of the first failure.
    fn exit_code(&self) -> u8 {
        self.0.first().map_or(0, |(_, error)| error.exit_code())
    }

    /// An error that names every failure, if there is one.
    ///
    /// # Errors
    /// [`Error::Several`].
    pub fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (subject, error)) in self.0.iter().enumerate() {
            write!(f, "{}{subject}: {error}", if nth == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Failures {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_names_all_that_failed() {
        let mut failures = Failures::default();
        assert_eq!(failures.note("container a", Ok(7)).unwrap(), Some(7));
        let gone = || Error::NotFound("is gone".into());
        for (name, error) in [("container b", gone()), ("container c", Error::Conflict("is used".into()))] {
            assert_eq!(failures.note::<()>(name, Err(error)).unwrap(), None);
        }
        let error = failures.into_result().unwrap_err();
        assert_eq!(error.to_string(), "container b: is gone; container c: is used");
        assert_eq!(error.exit_code(), gone().exit_code(), "that of the first");
        assert!(Failures::default().into_result().is_ok());
    }

    #[test]
    fn a_shortage_is_no_fault_of_the_input() {
        let about = |code: i32| {
            let error = kernel::Error::refused("open /n", std::io::Error::from_raw_os_error(code));
            Error::about_input(error, |why| Invalid::new("path", "/n", why)).exit_code()
        };
        assert_eq!([libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::EINVAL].map(about), [2; 4]);
        assert_eq!([libc::EMFILE, libc::ENOMEM, libc::EAGAIN, libc::EINTR].map(about), [1; 4]);
    }

    #[test]
    fn a_lost_store_ends_a_loop() {
        let lost = store::Error::Replaced("/s".into());
        assert!(Failures::default().note::<()>("container a", Err(lost.into())).is_err());
    }
}
