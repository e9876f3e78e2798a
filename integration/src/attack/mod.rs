//! Known attacks on a host and on containers. Each is tried with the guards, where it must fail, and without them,
//! where it must succeed.
//!
//! Two callers use the list: `integration/attacks`, which prints it as a table, and the tests.

mod guard;
mod input;
mod isolation;
mod sibling;

use anyhow::{Context, Result};

use crate::{Firewall, Host, Runtime, Settings};

/// An attack.
#[derive(Debug)]
pub struct Attack {
    /// What is tried.
    pub what: &'static str,
    /// The issue or document that describes it.
    pub seen: &'static str,
    /// The guard that stops it.
    pub guard: &'static str,
    /// A shell script for the host before anything else.
    prepare: &'static str,
    /// Makes the attack, with its guard and without.
    story: fn(&Host) -> Result<Outcome>,
}

/// How often an attack succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// With all guards, and with each of them alone.
    pub guarded: bool,
    /// Without any guard.
    pub unguarded: bool,
}

impl Outcome {
    /// The expected outcome: the attack fails with the guards and succeeds without them.
    pub const HELD: Self = Self { guarded: false, unguarded: true };
}

/// Attacks of one kind of attacker.
#[derive(Debug)]
pub struct Chapter {
    /// Who the attacker is.
    pub who: &'static str,
    /// What is tried.
    pub attacks: &'static [Attack],
    /// Whether a story calls the hook itself, and so needs a host without a runtime.
    by_hand: bool,
}

/// All attacks, by attacker.
pub const CHAPTERS: [Chapter; 3] = [
    Chapter { who: "packets that must not pass", attacks: isolation::ATTACKS, by_hand: false },
    Chapter { who: "a neighbour on the same bridge", attacks: sibling::ATTACKS, by_hand: false },
    Chapter { who: "what a runtime, an image or a user says", attacks: input::ATTACKS, by_hand: true },
];

/// Where an attack is tried.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The firewall that holds the rules.
    pub firewall: Firewall,
    /// Whether frames on a bridge pass the IP hooks.
    bridge_nf: bool,
    /// What makes the containers' namespaces.
    runtime: Runtime,
    /// Whether new namespaces begin with the settings of a router, as they do where the initial namespace has them.
    born_of_router: bool,
}

/// All worlds. Where two differ only in the settings that namespaces begin with, a runtime makes the namespaces in
/// both.
const WORLDS: [World; 5] = [
    World { runtime: Runtime::Crun, ..World::new(Firewall::Nftables, false) },
    World::new(Firewall::Nftables, true),
    World::new(Firewall::IptablesNft, true),
    World::new(Firewall::IptablesLegacy, false),
    World { runtime: Runtime::Runc, born_of_router: true, ..World::new(Firewall::Nftables, false) },
];

impl World {
    const fn new(firewall: Firewall, bridge_nf: bool) -> Self {
        Self { firewall, bridge_nf, runtime: Runtime::Bare, born_of_router: false }
    }

    /// The settings of a host in this world.
    pub fn settings(self) -> Settings {
        let Self { firewall, bridge_nf, runtime, born_of_router } = self;
        Settings::default().firewall(firewall).bridge_nf(bridge_nf).runtime(runtime).born_of_router(born_of_router)
    }
}

impl Chapter {
    /// The worlds in which the attacks of this chapter are tried.
    pub fn worlds(&self) -> impl Iterator<Item = World> {
        let there = |world: World| if self.by_hand { World { runtime: Runtime::Bare, ..world } } else { world };
        WORLDS.into_iter().map(there)
    }
}

impl Attack {
    /// Tries the attack on a host of its own.
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
