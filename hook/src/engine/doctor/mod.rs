//! The doctor: what is not as the store says, what outside of it stands in the way, putting right what is ours, and
//! taking it all away.

mod definitions;
mod names;
mod one;
mod ours;
mod outside;
mod preflight;
mod programs;
mod reset;
mod resolvers;
mod restore;
mod uplinks;

pub use one::{examine_bundle, missing_calls};
pub use preflight::preflight;
pub use reset::{CONTAINERDS, Reset, SERVICE_SOCKET};

use serde::Serialize;

use crate::engine::{Engine, Error, Result};

/// Something that an operator should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `bridge ocinet0`, `container web`.
    pub subject: String,
    /// What is the matter, in words.
    pub trouble: String,
    /// What to do about it.
    #[serde(flatten)]
    pub remedy: Remedy,
}

/// What to do about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "remedy", rename_all = "lowercase")]
pub enum Remedy {
    /// It is wrong, and [`Engine::restore`] puts it right.
    Ours,
    /// It is wrong, and not ours to change: what the operator can do.
    Yours(String),
    /// Nothing is wrong; but who looks for a cause should know.
    Note,
    /// It was looked at, and is as it should be.
    Fine,
}

impl Finding {
    fn ours(subject: impl Into<String>, trouble: impl Into<String>) -> Self {
        Self { subject: subject.into(), trouble: trouble.into(), remedy: Remedy::Ours }
    }

    /// What the user has to put right, by `remedy`.
    pub fn yours(subject: impl Into<String>, trouble: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), trouble: trouble.into(), remedy: Remedy::Yours(remedy.into()) }
    }

    fn note(subject: impl Into<String>, trouble: impl Into<String>) -> Self {
        Self { subject: subject.into(), trouble: trouble.into(), remedy: Remedy::Note }
    }

    fn fine(subject: impl Into<String>, trouble: impl Into<String>) -> Self {
        Self { subject: subject.into(), trouble: trouble.into(), remedy: Remedy::Fine }
    }

    /// What the settings of the host say that they may not.
    pub fn of_settings(error: &Error) -> Self {
        Self::yours("config.toml", format!("cannot be used: {error}"), "correct the file; the defaults were taken here")
    }

    fn unexamined(subject: impl Into<String>, error: &Error) -> Self {
        Self::yours(subject, format!("could not be examined: {error}"), "ocinet doctor")
    }

    /// Whether something is wrong.
    pub fn is_fault(&self) -> bool {
        matches!(self.remedy, Remedy::Ours | Remedy::Yours(_))
    }
}

/// A look at one part of the host.
type Examine = fn(&mut Engine) -> Result<Vec<Finding>>;

impl Engine {
    /// Looks at everything that ocinet made on this host, and at what may stand in its way. Changes nothing.
    ///
    /// # Errors
    /// When the kernel or the store cannot be asked.
    pub fn examine(&mut self) -> Result<Vec<Finding>> {
        if !self.store.is_kept() {
            let directory = self.state_dir.display();
            return Ok(vec![Finding::ours("store", format!("is missing from {directory}, or is not whole"))]);
        }
        if let Err(error) = self.store.read().integrity() {
            if error.is_damage() {
                // Nothing that it says can be held against the host.
                return Ok(vec![Finding::ours("store", error.to_string())]);
            }
            return Err(error.into());
        }
        let mut findings = Vec::new();
        let parts: [(&str, Examine); 6] = [
            ("containers", Self::examine_containers),
            ("name servers", |engine| resolvers::examine(&engine.store, &engine.files, &engine.config.dns_fallback)),
            ("networks", Self::examine_networks),
            ("definitions of networks", Self::examine_definitions),
            ("firewall", Self::examine_firewall),
            ("what is not ocinet's", Self::examine_outside),
        ];
        for (part, examine) in parts {
            match examine(self) {
                Ok(found) => findings.extend(found),
                Err(error) if error.is_store_lost() => return Err(error),
                // What stands in the way of one look does not in that of the next.
                Err(error) => findings.push(Finding::unexamined(part, &error)),
            }
        }
        findings.extend(programs::examine());
        Ok(findings)
    }
}
