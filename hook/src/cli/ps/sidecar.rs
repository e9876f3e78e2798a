//! A container that shares another's network, as `ps` shows it.

use serde::Serialize;
use serde_json::{Value, json};

use ocinet::decide::moment;
use ocinet::engine::{Engine, Member, Result};

use super::line::{self, UP};

/// The status of one whose network went with the container that it belonged to.
pub(super) const CUT_OFF: &str = "cut off";

/// A container that shares another's network.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct Sidecar {
    #[serde(flatten)]
    pub member: Member,
    /// How it is now.
    pub status: &'static str,
}

impl Sidecar {
    /// All on this host: those of a container that is not attached any more are cut off.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all(engine: &mut Engine) -> Result<Vec<Self>> {
        // Before what is attached: one that joins meanwhile is not taken for cut off.
        let members = engine.members()?;
        let sandboxes = engine.sandboxes()?;
        let of = |(member, alive): (Member, Option<bool>)| {
            let has_network = sandboxes.iter().any(|sandbox| member.is_of(sandbox));
            let status = match alive {
                Some(false) => "dead",
                None => "unknown",
                Some(true) if has_network => UP,
                Some(true) => CUT_OFF,
            };
            Self { member, status }
        };
        Ok(members.into_iter().map(of).collect())
    }

    /// Whose network it shares, in the words of the annotation.
    pub fn network(&self) -> String {
        format!("container:{}", self.member.owner_name)
    }

    /// The one row of a table.
    pub fn row(&self, whole: bool, now: i64) -> [String; 7] {
        let Self { member, status } = self;
        let (id, name) = (line::id(&member.container, whole), member.name.to_string());
        [id, name, self.network(), String::new(), String::new(), line::age(member.since, now), (*status).to_owned()]
    }

    /// What Docker's templates know of it.
    pub fn fields(&self, whole: bool, now: i64) -> Value {
        let Self { member, status } = self;
        json!({
            "ID": line::id(&member.container, whole),
            "Names": member.name.as_str(),
            "Networks": self.network(),
            "Addresses": "",
            "Ports": "",
            "CreatedAt": moment::written(member.since),
            "RunningFor": line::age(member.since, now),
            "State": "attached",
            "Status": status,
        })
    }
}
