use nix::errno::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::error::{Doing, Result};

/// Random bits from the kernel, for names that nobody else has.
///
/// # Errors
/// When the kernel has none yet, early at boot.
pub fn random() -> Result<u64> {
    let what = || "get random bits".to_owned();
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole or not at all (getrandom(2)).
    match getrandom(&mut bytes, GetRandomFlags::NONBLOCK).doing(what)? {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(Errno::EAGAIN).doing(what),
    }
}
