use std::collections::HashMap;

use crate::model::Invalid;

const PREFIX: &str = "io.ocinet.";

/// Where a key's value goes.
type Field = fn(&mut Annotations) -> &mut Option<String>;

/// Our annotations of a container, each still as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `io.ocinet.network`.
    pub network: Option<String>,
    /// `io.ocinet.publish`.
    pub publish: Option<String>,
    /// `io.ocinet.name`.
    pub name: Option<String>,
    /// `io.ocinet.hostname`.
    pub hostname: Option<String>,
    /// `io.ocinet.dns`.
    pub dns: Option<String>,
    /// `io.ocinet.dns-search`.
    pub dns_search: Option<String>,
    /// `io.ocinet.dns-option`.
    pub dns_option: Option<String>,
    /// `io.ocinet.add-host`.
    pub add_host: Option<String>,
}

impl Annotations {
    /// The one table of keys.
    const KEYS: [(&'static str, Field); 8] = [
        ("io.ocinet.network", |a| &mut a.network),
        ("io.ocinet.publish", |a| &mut a.publish),
        ("io.ocinet.name", |a| &mut a.name),
        ("io.ocinet.hostname", |a| &mut a.hostname),
        ("io.ocinet.dns", |a| &mut a.dns),
        ("io.ocinet.dns-search", |a| &mut a.dns_search),
        ("io.ocinet.dns-option", |a| &mut a.dns_option),
        ("io.ocinet.add-host", |a| &mut a.add_host),
    ];

    /// Picks ours out of all; `None` where there is none, which means: this container is not our business.
    pub fn pick(all: &HashMap<String, String>) -> Result<Option<Self>, Invalid> {
        let mut picked = None;
        for (key, value) in all.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
            let Some((_, field)) = Self::KEYS.iter().find(|(known, _)| known == key) else {
                let why = format!("is no key of ocinet; did you mean {}?", nearest(key));
                return Err(Invalid::new("annotation", key, why));
            };
            *field(picked.get_or_insert_default()) = Some(value.clone());
        }
        Ok(picked)
    }
}

fn nearest(key: &str) -> &'static str {
    let distance = |known: &str| strsim::damerau_levenshtein(known, key);
    Annotations::KEYS.iter().map(|(known, _)| *known).min_by_key(|known| distance(known)).unwrap_or(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(pairs: &[(&str, &str)]) -> Result<Option<Annotations>, Invalid> {
        Annotations::pick(&pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn ours_and_others() {
        assert_eq!(pick(&[("org.x", "y"), ("io.ocinetwork", "z")]), Ok(None));
        let ours = pick(&[("io.ocinet.network", "none"), ("org.x", "y")]).unwrap().unwrap();
        assert_eq!((ours.network.as_deref(), ours.publish), (Some("none"), None));
    }

    #[test]
    fn a_typo_is_answered_with_the_nearest_key() {
        let error = pick(&[("io.ocinet.pubish", "80:80")]).unwrap_err().to_string();
        assert!(error.contains("\"io.ocinet.pubish\"") && error.contains("io.ocinet.publish?"), "{error}");
    }
}
