//! Whether a sandbox lives, decided from what was seen of it. Pure.
//!
//! Three answers, since a container that is taken for dead loses its network: what could not be looked at is unknown,
//! and unknown is never collected. Death is proved by the end of the very process, or by the kernel: it forgets the id
//! that the host's network namespace has for another one when that one ends, and only then (`unhash_nsid`,
//! net/core/net_namespace.c). The host's end of a container's link proves life while it is there; its absence proves
//! nothing, for a container can delete its own interface.

use crate::model::State;

/// What a look at the place where a network namespace was recorded found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<N> {
    /// The namespace, in use.
    Alive(N),
    /// The process that it was recorded by has ended, or nothing wants the namespace any more. Proved.
    Gone,
    /// The place leads nowhere, or to another namespace. Processes may be in the recorded one all the same.
    Missing(String),
    /// The place means nothing from here, as in another pid or mount namespace.
    Hidden(String),
    /// The look failed.
    Failed(String),
}

/// Whether a sandbox lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It does.
    Alive,
    /// It does not; proved.
    Dead,
    /// It cannot be told, and why.
    Unknown(String),
}

/// What the host's own network namespace says of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the host's network namespace still has the id that it had for the sandbox's; none where that is not
    /// recorded.
    pub nsid: Option<bool>,
    /// Whether the host's end of one of its links is there.
    pub link: bool,
    /// Whether its links are all that is known of it.
    pub link_alone: bool,
}

/// Judges a sandbox. `evidence` is asked only where the sight does not settle it.
///
/// An error of `evidence` makes it unknown.
pub fn judge<N, E: std::fmt::Display>(sight: &Sight<N>, evidence: impl FnOnce() -> Result<Evidence, E>) -> Life {
    let why = match sight {
        Sight::Alive(_) => return Life::Alive,
        Sight::Gone => return Life::Dead,
        Sight::Missing(why) | Sight::Hidden(why) | Sight::Failed(why) => why,
    };
    let evidence = match evidence() {
        Ok(evidence) => evidence,
        Err(error) => return Life::Unknown(error.to_string()),
    };
    let unknown = || Life::Unknown(why.clone());
    match (sight, evidence) {
        (_, Evidence { nsid: Some(false), .. }) => Life::Dead,
        // A namespace can outlive its container's process, and only the look that failed would tell.
        (Sight::Failed(_), _) => unknown(),
        (_, Evidence { nsid: Some(true), .. } | Evidence { link: true, .. }) => Life::Alive,
        (Sight::Missing(_), _) | (_, Evidence { link_alone: true, .. }) => Life::Dead,
        _ => unknown(),
    }
}

/// What a collection does with a sandbox that no process works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It is taken away.
    TakeAway,
}

/// What a collection does with a sandbox in `state`, whose lock is free; `life` is asked only where the state does not
/// settle it.
pub fn verdict(state: State, life: impl FnOnce() -> Life) -> Verdict {
    match state {
        State::Attached if life() != Life::Dead => Verdict::Keep,
        // The process that was attaching or detaching it has ended.
        State::Attached | State::Attaching | State::Detaching | State::Draining => Verdict::TakeAway,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attached_sandbox_is_taken_away_only_if_it_is_proved_dead() {
        let attached = |life| verdict(State::Attached, || life);
        assert_eq!(attached(Life::Dead), Verdict::TakeAway);
        assert_eq!((attached(Life::Alive), attached(Life::Unknown("why".into()))), (Verdict::Keep, Verdict::Keep));
        for state in [State::Attaching, State::Detaching, State::Draining] {
            assert_eq!(verdict(state, || panic!("{state} settles it")), Verdict::TakeAway);
        }
    }

    fn judged(sight: &Sight<()>, nsid: Option<bool>, link: bool, link_alone: bool) -> &'static str {
        let life = judge(sight, || Ok::<_, &str>(Evidence { nsid, link, link_alone }));
        match life {
            Life::Alive => "alive",
            Life::Dead => "dead",
            Life::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn only_what_is_proved_is_dead() {
        let why = || "why".to_owned();
        let (missing, hidden, failed) = (Sight::Missing(why()), Sight::Hidden(why()), Sight::Failed(why()));
        let rows = [
            (&Sight::Alive(()), Some(false), false, "alive"),
            (&Sight::Gone, Some(true), true, "dead"),
            // The kernel's word settles what cannot be seen.
            (&missing, Some(false), false, "dead"),
            (&hidden, Some(false), false, "dead"),
            (&failed, Some(false), false, "dead"),
            (&missing, Some(true), false, "alive"),
            (&hidden, Some(true), false, "alive"),
            (&failed, Some(true), true, "unknown"),
            // A sandbox stored by an earlier version has no nsid.
            (&missing, None, true, "alive"),
            (&missing, None, false, "dead"),
            (&hidden, None, true, "alive"),
            (&hidden, None, false, "unknown"),
            (&failed, None, true, "unknown"),
            (&failed, None, false, "unknown"),
        ];
        for (sight, nsid, link, expected) in rows {
            assert_eq!(judged(sight, nsid, link, false), expected, "{sight:?}, nsid {nsid:?}, link {link}");
        }
        assert_eq!(judged(&hidden, None, false, true), "dead", "found by a link that is gone");
        assert_eq!(judged(&hidden, None, true, true), "alive");
    }

    #[test]
    fn an_error_is_not_an_answer() {
        let sight = Sight::<()>::Hidden("why".into());
        assert_eq!(judge(&sight, || Err("no descriptors")), Life::Unknown("no descriptors".into()));
        assert_eq!(judge(&Sight::<()>::Gone, || Err("not asked")), Life::Dead);
    }
}
