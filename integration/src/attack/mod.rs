//! Attacks on a host and on containers, each of them known from elsewhere: tried against the guards, and again with the
//! guards out of the way, when it has to succeed.
//!
//! One list serves two: `integration/attacks`, which prints it as a table, and the tests.

mod guard;
mod input;
mod neighbour;
mod passage;

use anyhow::{Context, Result};

use crate::{Firewall, Host, Settings};

/// An attack.
#[derive(Debug)]
pub struct Attack {
    /// What is tried.
    pub what: &'static str,
    /// Where it was seen before.
    pub seen: &'static str,
    /// What stands in its way.
    pub guard: &'static str,
    /// A shell script for the host before anything else.
    prepare: &'static str,
    story: fn(&Host) -> Result<Outcome>,
}

/// How often an attack succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Against the guards, together and each of them alone.
    pub guarded: bool,
    /// Without any.
    pub unguarded: bool,
}

impl Outcome {
    /// The guards hold, and there was something for them to hold.
    pub const HELD: Self = Self { guarded: false, unguarded: true };
}

/// All attacks by who is the attacker.
pub const CHAPTERS: [(&str, &[Attack]); 3] = [
    ("packets that must not pass", passage::ATTACKS),
    ("a neighbour on the same bridge", neighbour::ATTACKS),
    ("what a runtime, an image or a user says", input::ATTACKS),
];

/// Where each attack is tried.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Who keeps the rules.
    pub firewall: Firewall,
    /// Whether frames on a bridge pass the IP hooks.
    pub bridge_nf: bool,
    /// Whether new namespaces begin as where the initial one is a router's.
    pub born_of_router: bool,
}

/// All of them.
pub const WORLDS: [World; 5] = [
    World { firewall: Firewall::Nftables, bridge_nf: false, born_of_router: false },
    World { firewall: Firewall::Nftables, bridge_nf: true, born_of_router: false },
    World { firewall: Firewall::IptablesNft, bridge_nf: true, born_of_router: false },
    World { firewall: Firewall::IptablesLegacy, bridge_nf: false, born_of_router: false },
    World { firewall: Firewall::Nftables, bridge_nf: false, born_of_router: true },
];

impl World {
    /// A host there.
    pub fn settings(self) -> Settings {
        Settings::default().firewall(self.firewall).bridge_nf(self.bridge_nf).born_of_router(self.born_of_router)
    }
}

impl Attack {
    /// Tries it on a host of its own.
    pub fn attempt(&self, settings: Settings) -> Result<Outcome> {
        let mut outcome = None;
        let story = |host: &Host| {
            outcome = Some((self.story)(host)?);
            Ok(())
        };
        settings.prepare(self.prepare).test(story).with_context(|| self.what)?;
        outcome.context("a story ends with an outcome")
    }
}
