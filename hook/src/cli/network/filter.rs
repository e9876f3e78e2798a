//! `--filter KEY=VALUE`, as Docker has it for networks.

use ocinet::decide::moment;
use ocinet::engine::{NetworkKind, NetworkView};
use ocinet::model::Invalid;

use super::docker;

/// What is asked of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    Driver(String),
    Id(String),
    /// A label with this key, and this value where one is said.
    Label(String, Option<String>),
    NoLabel(String, Option<String>),
    Name(String),
    Scope(String),
    IsCustom(bool),
    IsUnused(bool),
    /// Whether `create` wrote it before this moment.
    Until(i64),
}

/// Questions of which a network has to answer one of each kind, and all about labels.
#[derive(Debug, Default)]
pub(super) struct Filters(Vec<Question>);

/// The keys that `ls` takes.
pub(super) const OF_LIST: &[&str] = &["driver", "id", "label", "label!", "name", "scope", "type", "dangling"];
/// The keys that `prune` takes.
pub(super) const OF_PRUNE: &[&str] = &["until", "label", "label!"];

impl Filters {
    /// Reads filters of these keys; `now` is the moment that `until` counts back from.
    pub(super) fn parse(filters: &[String], keys: &[&str], now: i64) -> Result<Self, Invalid> {
        filters.iter().map(|filter| question(filter, keys, now)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the network is asked for.
    pub(super) fn accept(&self, view: &NetworkView) -> bool {
        let of_all = |question: &&Question| matches!(question, Question::Label(..) | Question::NoLabel(..));
        let (all, one): (Vec<_>, Vec<_>) = self.0.iter().partition(of_all);
        let kind = std::mem::discriminant::<Question>;
        let is_met = |question: &&&Question| {
            one.iter().filter(|other| kind(other) == kind(question)).any(|other| other.is_met_by(view))
        };
        all.iter().all(|question| question.is_met_by(view)) && one.iter().all(|question| is_met(&question))
    }
}

impl Question {
    fn is_met_by(&self, view: &NetworkView) -> bool {
        let labels = view.labels();
        let has = |key: &String, value: &Option<String>| {
            labels.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        match self {
            Self::Driver(driver) => view.kind.driver() == driver,
            Self::Id(id) => docker::id(&view.name).contains(id),
            Self::Label(key, value) => has(key, value),
            Self::NoLabel(key, value) => !has(key, value),
            Self::Name(name) => view.name.contains(name),
            Self::Scope(scope) => scope == "local",
            Self::IsCustom(custom) => is_custom(view) == *custom,
            Self::IsUnused(unused) => (is_custom(view) && view.sandboxes.is_empty()) == *unused,
            Self::Until(moment) => view.created().and_then(moment::read).is_some_and(|created| created < *moment),
        }
    }
}

/// Whether it is none of the three that every host has.
pub(super) fn is_custom(view: &NetworkView) -> bool {
    matches!(view.kind, NetworkKind::Defined(_)) && view.name != "bridge"
}

fn question(filter: &str, keys: &[&str], now: i64) -> Result<Question, Invalid> {
    let wrong = |why: String| Invalid::new("--filter", filter, why);
    let (key, value) = filter.split_once('=').ok_or_else(|| wrong("is not of the form KEY=VALUE".into()))?;
    if !keys.contains(&key) {
        return Err(wrong(format!(
            "is none of {}",
            keys.iter().map(|key| format!("{key}=")).collect::<Vec<_>>().join(", ")
        )));
    }
    let text = value.to_owned();
    let label = || match value.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    };
    Ok(match key {
        "driver" => Question::Driver(text),
        "id" => Question::Id(text),
        "label" => Question::Label(label().0, label().1),
        "label!" => Question::NoLabel(label().0, label().1),
        "name" => Question::Name(text),
        "scope" => Question::Scope(text),
        "type" => Question::IsCustom(match value {
            "custom" => true,
            "builtin" => false,
            _ => return Err(wrong("is neither custom nor builtin".into())),
        }),
        "dangling" => Question::IsUnused(match value {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong("is neither true nor false".into())),
        }),
        _ => {
            let moment = moment::until(value, now);
            Question::Until(moment.ok_or_else(|| wrong("is neither a moment nor a duration such as 24h".into()))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocinet::input::network_file;
    use ocinet::model::{Network, Subnet};

    fn views() -> Vec<NetworkView> {
        let text = "created = 1970-01-01T00:01:00Z\n[labels]\na = \"b\"\n";
        let mut web = network_file::parse(text, "/web.toml", "web").unwrap();
        web.link = "ocn-00000001".parse().ok();
        web.subnets.extend(Subnet::with_first_gateway("10.64.0.0/24".parse().unwrap()));
        let bridge = Network::of_bridge("bridge".parse().unwrap(), "ocinet0".parse().unwrap(), web.subnets.clone());
        let mut views = NetworkView::arrange(vec![web.network().unwrap(), bridge], &[]);
        views.iter_mut().find(|view| view.name == "web").unwrap().definition = Some(web);
        views
    }

    fn names(filters: &[&str]) -> String {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let filters = Filters::parse(&filters, &[OF_LIST, OF_PRUNE].concat(), 10_000).unwrap();
        let views = views();
        views.iter().filter(|view| filters.accept(view)).map(|view| view.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_of_each_kind_and_all_labels() {
        let rows: [(&[&str], &str); 15] = [
            (&[], "bridge host none web"),
            (&["driver=bridge"], "bridge web"),
            (&["driver=bridge", "driver=null"], "bridge none web"),
            (&["driver=bridge", "name=e"], "bridge web"),
            (&["driver=bridge", "name=we"], "web"),
            (&["label=a"], "web"),
            (&["label=a=b"], "web"),
            (&["label=a=c"], ""),
            (&["label=a", "label=x"], ""),
            (&["label!=a", "driver=bridge"], "bridge"),
            (&["type=custom"], "web"),
            (&["type=builtin"], "bridge host none"),
            (&["dangling=true"], "web"),
            (&["until=1h"], "web"),
            (&["until=59"], ""),
        ];
        for (filters, expected) in rows {
            assert_eq!(names(filters), expected, "{filters:?}");
        }
        assert_eq!(names(&[&format!("id={}", &docker::id("web")[..12])]), "web");
        assert_eq!(names(&["scope=local"]), "bridge host none web");
        assert_eq!(names(&["scope=swarm"]), "");
    }

    #[test]
    fn mistakes_are_named() {
        for (filter, why) in [
            ("web", "KEY=VALUE"),
            ("colour=red", "none of driver=, id="),
            ("until=1h", "none of"),
            ("type=x", "custom"),
            ("dangling=x", "true"),
        ] {
            let error = Filters::parse(&[filter.to_owned()], OF_LIST, 0).unwrap_err();
            assert!(error.value == filter && error.why.contains(why), "{error}");
        }
        let error = Filters::parse(&["until=soon".to_owned()], OF_PRUNE, 0).unwrap_err();
        assert!(error.why.contains("24h"), "{error}");
    }
}
