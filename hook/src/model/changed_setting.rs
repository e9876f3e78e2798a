use serde::{Deserialize, Serialize};

/// A setting of the kernel that is the host's and that we changed, so that it can be put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedSetting {
    /// The path below /proc/sys/.
    pub key: String,
    /// The value that it had.
    pub from: String,
    /// The value that we gave it.
    pub to: String,
}
