//! Which container a person means by an id, a name or the beginning of an id. Pure.

use super::{Engine, Error, Result};
use crate::model::{Record, quoted};

/// How many candidates a refusal names.
const NAMED: usize = 5;

/// The records of the container that `text` means: the one of that id; else the one of that name; else the one whose id begins so.
/// They are several where several roots of a runtime have one id.
///
/// An id and a name are chosen by different people, and neither is to capture what was meant for the other: a `text` that is the
/// id of one and the name of another that is not dead is refused. Among those of one name, or of one beginning, the dead count
/// only where there are no others.
///
/// # Errors
/// [`Error::NotFound`] where there is none, [`Error::Conflict`] where several of different ids are meant.
pub(super) fn meant<'r>(
    text: &str,
    records: &'r [Record],
    mut is_dead: impl FnMut(&Record) -> bool,
) -> Result<Vec<&'r Record>> {
    let among = |matches: &dyn Fn(&Record) -> bool| records.iter().filter(|record| matches(record)).collect::<Vec<_>>();
    let with_id = among(&|record| record.container.as_str() == text);
    let named = among(&|record| record.name.as_str() == text && record.container.as_str() != text);
    if !with_id.is_empty() {
        let others = named.into_iter().filter(|record| !is_dead(record)).collect::<Vec<_>>();
        return if others.is_empty() { Ok(with_id) } else { Err(ambiguous(text, &[with_id, others].concat())) };
    }
    let candidates =
        if named.is_empty() { among(&|record| record.container.as_str().starts_with(text)) } else { named };
    let living: Vec<&Record> = candidates.iter().copied().filter(|record| !is_dead(record)).collect();
    let candidates = if living.is_empty() { candidates } else { living };
    match candidates.first() {
        None => Err(Engine::not_attached(text, records)),
        Some(first) if candidates.iter().any(|record| record.container != first.container) => {
            Err(ambiguous(text, &candidates))
        }
        Some(_) => Ok(candidates),
    }
}

/// Whether `text` is one of the ways to call the container of `record`.
pub(super) fn is_called(record: &Record, text: &str) -> bool {
    record.name.as_str() == text || record.container.as_str().starts_with(text)
}

/// That `text` means any of `several`, and how each is told from the others.
pub(super) fn ambiguous(text: &str, several: &[&Record]) -> Error {
    let one = |record: &&Record| {
        let Record { container, name, bundle, .. } = record;
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

    fn record(id: &str, name: &str) -> Record {
        let record = json!({
            "record": 1, "container": id, "bundle": format!("/bundles/{id}"), "name": name, "mode": "none", "state": "attached",
            "namespace": {"cookie": 1, "witness": {"path": "/n"}, "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1},
            "endpoints": [], "publish": [],
        });
        serde_json::from_value(record).unwrap()
    }

    /// The ids of those that `text` means, or the exit code; names that begin with `dead` are dead containers'.
    fn meant_by(text: &str, records: &[(&str, &str)]) -> std::result::Result<Vec<String>, u8> {
        let records: Vec<Record> = records.iter().map(|(id, name)| record(id, name)).collect();
        let found = meant(text, &records, |record| record.bundle.starts_with("/bundles/dead"));
        found.map(|found| found.iter().map(|record| record.container.to_string()).collect()).map_err(|e| e.exit_code())
    }

    #[test]
    fn an_id_then_a_name_then_a_beginning() {
        let records = [("web", "web"), ("abc1", "db"), ("abc2", "shop"), ("web2", "web2"), ("xyz", "abc")];
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
            assert_eq!(meant_by(text, &records), expected, "{text}");
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
        let records: Vec<Record> = (0..9).map(|n| record(&format!("id{n}"), "web")).collect();
        let error = meant("web", &records, |_| false).unwrap_err().to_string();
        let start = "several containers are called \"web\": id0 (named web) of bundle /bundles/id0, id1";
        assert!(error.starts_with(start) && error.contains("/bundles/id4, ...; say"), "{error}");
    }
}
