use std::path::Path;

use super::Result;
use crate::input::config::Config;
use crate::kernel;

/// The settings in `directory`, whose file may be missing.
///
/// # Errors
/// When the file cannot be read, or says what it may not.
pub fn settings(directory: &Path) -> Result<Config> {
    let path = directory.join("config.toml");
    let Some(bytes) = kernel::read_regular(&path, Config::MAX_BYTES)? else { return Ok(Config::unread(directory)) };
    Ok(Config::parse(&String::from_utf8_lossy(&bytes), &path.to_string_lossy())?)
}
