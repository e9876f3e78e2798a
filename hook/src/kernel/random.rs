use super::error::{Error, Result};

/// Random bits from the kernel, for names that nobody else has.
///
/// # Errors
/// When the kernel has none yet, early at boot.
pub fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::refused("get random bits", std::io::Error::other(error)))
}
