use std::fmt;

use serde::{Deserialize, Serialize};

/// How far an attach or detach has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The intent is written; the kernel may hold none, some or all of it.
    Attaching,
    /// All is in place.
    Attached,
    /// Being taken away; the kernel may still hold some of it.
    Detaching,
    /// An endpoint, gone but for the link, which the kernel takes its time to delete
    /// ([`DrainingEndpoint`](super::DrainingEndpoint)).
    Draining,
}

impl State {
    /// Whether the container has, or is about to have, what its sandbox or endpoint says.
    pub fn is_wired(self) -> bool {
        matches!(self, Self::Attaching | Self::Attached)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Attaching => "attaching",
            Self::Attached => "attached",
            Self::Detaching => "detaching",
            Self::Draining => "draining",
        })
    }
}
