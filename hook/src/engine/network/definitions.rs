//! The files that define networks. One is read when a container names its network; all of them only when a range is to
//! be chosen, and for commands that show them.

use std::path::{Path, PathBuf};

use crate::engine::Result;
use crate::input::config::Config;
use crate::input::network_file::{self, Definition};
use crate::kernel;
use crate::model::NetworkName;

/// Where the definitions are.
#[derive(Debug, Clone)]
pub struct Definitions {
    /// Those that outlive a boot: `/etc/ocinet/networks`.
    lasting: PathBuf,
    /// Those that do not: `/run/ocinet/networks`. One of the same name that lasts goes first.
    passing: PathBuf,
}

impl Definitions {
    /// Those of the host with this configuration and state directory.
    pub fn of(config: &Config, state_dir: &Path) -> Self {
        Self { lasting: config.directory.join("networks"), passing: state_dir.join("networks") }
    }

    /// The definition of `name`; none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or says what it may not.
    pub fn read(&self, name: &NetworkName) -> Result<Option<Definition>> {
        for directory in [&self.lasting, &self.passing] {
            if let Some(definition) = read(directory, name)? {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }
}

fn read(directory: &Path, name: &NetworkName) -> Result<Option<Definition>> {
    let path = directory.join(format!("{name}.toml"));
    let Some(bytes) = kernel::read_regular(&path, network_file::MAX_BYTES)? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(network_file::parse(&text, &path.to_string_lossy(), name.as_str())?))
}
