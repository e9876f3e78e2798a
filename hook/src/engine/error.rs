use crate::model::Invalid;
use crate::{kernel, store};

/// Why an attach or detach failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Somebody else has what was asked for.
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

impl Error {
    /// The exit codes of commands, and what they mean.
    pub const EXIT_CODES: [(u8, &str); 6] = [
        (0, "Done."),
        (1, "The kernel, the host or the store failed."),
        (2, "The input is invalid."),
        (3, "Somebody else has what was asked for."),
        (4, "Nothing is left of what was asked for."),
        (5, "What was named does not exist."),
    ];

    /// The exit code of a command that fails with this, one of [`Error::EXIT_CODES`].
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Invalid(_) => 2,
            Self::Conflict(_) | Self::Kernel(kernel::Error::Busy(_)) => 3,
            Self::Exhausted(_) | Self::Kernel(kernel::Error::Exhausted(_)) => 4,
            Self::NotFound(_) => 5,
            Self::Rollback { attach, .. } => attach.exit_code(),
            Self::Kernel(_) | Self::Store(_) => 1,
        }
    }
}
