//! Which container a person means by an id, a name or the beginning of an id. Pure.

use super::{Error, Result};
use crate::decide::similar;
use crate::model::{Sandbox, quoted};

/// How many candidates a refusal names.
const NAMED: usize = 5;

/// The sandboxes of the container that `text` means: the one of that id; else the one of that name; else the one whose
/// id begins so. They are several where several roots of a runtime have one id.
///
/// An id and a name are chosen by different people, and neither is to capture what was meant for the other: a `text`
/// that is the id of one and the name of another that is not dead is refused. Among those of one name, or of one
/// beginning, the dead count only where there are no others.
///
/// # Errors
/// [`Error::NotFound`] where there is none, [`Error::Conflict`] where several of different ids are meant.
pub(super) fn meant<'r>(
    text: &str,
    sandboxes: &'r [Sandbox],
    mut is_dead: impl FnMut(&Sandbox) -> bool,
) -> Result<Vec<&'r Sandbox>> {
    let among =
        |matches: &dyn Fn(&Sandbox) -> bool| sandboxes.iter().filter(|sandbox| matches(sandbox)).collect::<Vec<_>>();
    let with_id = among(&|sandbox| sandbox.container.as_str() == text);
    let named = among(&|sandbox| sandbox.name.as_str() == text && sandbox.container.as_str() != text);
    if !with_id.is_empty() {
        let others = named.into_iter().filter(|sandbox| !is_dead(sandbox)).collect::<Vec<_>>();
        return if others.is_empty() { Ok(with_id) } else { Err(ambiguous(text, &[with_id, others].concat())) };
    }
    let candidates =
        if named.is_empty() { among(&|sandbox| sandbox.container.as_str().starts_with(text)) } else { named };
    let living: Vec<&Sandbox> = candidates.iter().copied().filter(|sandbox| !is_dead(sandbox)).collect();
    let candidates = if living.is_empty() { candidates } else { living };
    match candidates.first() {
        None => Err(not_attached(text, sandboxes)),
        Some(first) if candidates.iter().any(|sandbox| sandbox.container != first.container) => {
            Err(ambiguous(text, &candidates))
        }
        Some(_) => Ok(candidates),
    }
}

/// The error that no `container` of that id or name is among the `attached`, with the one that may have been meant.
pub fn not_attached(container: &str, attached: &[Sandbox]) -> Error {
    let known = attached.iter().flat_map(|sandbox| [sandbox.container.as_str(), sandbox.name.as_str()]);
    let hint = match similar(container, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "see ocinet ps".to_owned(),
    };
    Error::NotFound(format!("container {} is not attached; {hint}", quoted(container)))
}

/// Whether `text` is one of the ways to call the container of `sandbox`.
pub(super) fn is_called(sandbox: &Sandbox, text: &str) -> bool {
    sandbox.name.as_str() == text || sandbox.container.as_str().starts_with(text)
}

/// That `text` means any of `several`, and how each is told from the others.
pub(super) fn ambiguous(text: &str, several: &[&Sandbox]) -> Error {
    let one = |sandbox: &&Sandbox| {
        let Sandbox { container, name, bundle, .. } = sandbox;
        let called = if name.as_str() == container.as_str() { String::new() } else { format!(" (named {name})") };
        format!("{container}{called} of bundle {bundle}")
    };
    let mut candidates: Vec<String> = several.iter().take(NAMED).map(one).collect();
    if several.len() > NAMED {
        candidates.push("...".to_owned());
    }
    let (text, candidates) = (quoted(text), candidates.join(", "));
    Error::Conflict(format!("several containers are called {text}: {candidates}; say the whole id of one"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sandbox(id: &str, name: &str) -> Sandbox {
        let sandbox = json!({
            "record": 1, "container": id, "bundle": format!("/bundles/{id}"), "name": name, "mode": "none", "state": "attached",
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "endpoints": [], "publish": [],
        });
        serde_json::from_value(sandbox).unwrap()
    }

    /// The ids of those that `text` means, or the exit code; names that begin with `dead` are dead containers'.
    fn meant_by(text: &str, sandboxes: &[(&str, &str)]) -> std::result::Result<Vec<String>, u8> {
        let sandboxes: Vec<Sandbox> = sandboxes.iter().map(|(id, name)| sandbox(id, name)).collect();
        let found = meant(text, &sandboxes, |sandbox| sandbox.bundle.starts_with("/bundles/dead"));
        found
            .map(|found| found.iter().map(|sandbox| sandbox.container.to_string()).collect())
            .map_err(|e| e.exit_code())
    }

    #[test]
    fn an_id_then_a_name_then_a_beginning() {
        let sandboxes = [("web", "web"), ("abc1", "db"), ("abc2", "shop"), ("web2", "web2"), ("xyz", "abc")];
        let rows: [(&str, std::result::Result<&[&str], u8>); 8] = [
            ("web", Ok(&["web"])),
            ("db", Ok(&["abc1"])),
            ("abc", Ok(&["xyz"])),
            ("abc2", Ok(&["abc2"])),
            ("xy", Ok(&["xyz"])),
            ("ab", Err(3)),
            ("we", Err(3)),
            ("cache", Err(5)),
        ];
        for (text, expected) in rows {
            let expected = expected.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect());
            assert_eq!(meant_by(text, &sandboxes), expected, "{text}");
        }
    }

    #[test]
    fn an_id_and_a_name_do_not_capture_each_other() {
        assert_eq!(meant_by("web", &[("web", "web"), ("abc", "web")]), Err(3));
        assert_eq!(meant_by("web", &[("abc", "web"), ("web", "other")]), Err(3));
        // A dead one's name is free again; a dead one's id is not another's name.
        assert_eq!(meant_by("web", &[("web", "web"), ("dead1", "web")]), Ok(vec!["web".into()]));
        assert_eq!(meant_by("dead1", &[("dead1", "x"), ("abc", "dead1")]), Err(3));
    }

    #[test]
    fn the_dead_give_way_to_the_living() {
        assert_eq!(meant_by("web", &[("dead1", "web"), ("abc", "web")]), Ok(vec!["abc".into()]));
        assert_eq!(meant_by("de", &[("dead1", "a"), ("deaf", "b")]), Ok(vec!["deaf".into()]));
        assert_eq!(meant_by("dead", &[("dead1", "a"), ("dead2", "b")]), Err(3));
        assert_eq!(meant_by("dead", &[("dead1", "a")]), Ok(vec!["dead1".into()]));
    }

    #[test]
    fn one_id_of_two_roots_is_one_container_to_look_at() {
        assert_eq!(meant_by("web", &[("web", "web"), ("web", "shop")]), Ok(vec!["web".into(), "web".into()]));
        assert_eq!(meant_by("we", &[("web", "web"), ("web", "shop")]), Ok(vec!["web".into(), "web".into()]));
    }

    #[test]
    fn a_refusal_names_the_candidates() {
        let sandboxes: Vec<Sandbox> = (0..9).map(|n| sandbox(&format!("id{n}"), "web")).collect();
        let error = meant("web", &sandboxes, |_| false).unwrap_err().to_string();
        let start = "several containers are called \"web\": id0 (named web) of bundle /bundles/id0, id1";
        assert!(error.starts_with(start) && error.contains("/bundles/id4, ...; say"), "{error}");
    }
}
