use crate::engine::{Engine, Result};

/// Which of two tries it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Try {
    /// The first.
    First,
    /// After the store turned out to be lost and was rebuilt. It may hold what the first try made, or not all of it.
    AfterRebuild,
}

impl Engine {
    /// Does `work`. Where the store turns out to be lost, it is rebuilt, and the work done once more.
    pub(in crate::engine) fn with_whole_store<T>(&mut self, work: impl Fn(&mut Self, Try) -> Result<T>) -> Result<T> {
        match work(self, Try::First) {
            Err(error) if error.is_store_lost() => {
                self.renew_store(&error)?;
                work(self, Try::AfterRebuild)
            }
            result => result,
        }
    }
}
