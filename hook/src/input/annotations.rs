use std::collections::HashMap;

use crate::model::Invalid;

/// What every annotation of ours begins with.
pub(crate) const PREFIX: &str = "io.ocinet.";

/// Where an edited spec says how to undo the edit. It asks for nothing.
pub(crate) const UNDO: &str = "io.ocinet.undo";

/// Our annotations of a container, each still as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `io.ocinet.network`.
    pub network: Option<String>,
    /// `io.ocinet.publish`.
    pub publish: Option<String>,
    /// `io.ocinet.publish-via`.
    pub publish_via: Option<String>,
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

/// A key, and what people are told about it.
pub struct AnnotationKey {
    /// The whole key.
    pub name: &'static str,
    /// The grammar of its values: what is to be replaced in capitals, what may be left out in brackets.
    pub grammar: &'static str,
    /// What it means and what holds without it, in whole sentences, a paragraph each. Backticks mark what is typed.
    pub help: &'static [&'static str],
    /// A value that says something.
    pub example: &'static str,
    /// Where the value goes.
    field: fn(&mut Annotations) -> &mut Option<String>,
}

impl Annotations {
    /// The key that says which network.
    pub const NETWORK: &str = "io.ocinet.network";
    /// The key that says the container's name.
    pub const NAME: &str = "io.ocinet.name";
    /// The key that says its host name.
    pub const HOSTNAME: &str = "io.ocinet.hostname";
    /// The key that says names of others.
    pub const ADD_HOST: &str = "io.ocinet.add-host";

    /// The one table of keys.
    pub const KEYS: &[AnnotationKey] = &[
        AnnotationKey {
            name: Self::NETWORK,
            grammar: "NETWORK[:OPTION,...][;NETWORK[:OPTION,...]]... | host | none | container:CONTAINER",
            help: &[
                "How the container is wired. `bridge`: an interface on the default network, with an address of its own; \
                 options are below. Another name: the same on a network that `ocinet network create` or a file in \
                 /etc/ocinet/networks defines. `none`: loopback only. `host`: the host's network. `container:CONTAINER`: the network \
                 and the names of another container, which has to run; it is called by its id, its name or the \
                 beginning of its id. Without this key: `bridge`.",
                "With `container:CONTAINER` the container has nothing of its own: keys for ports, host name, name servers \
                 and hosts are refused, since they belong to the other container. `ocinet ps` lists it below that one, and \
                 `ocinet inspect` and `ocinet port` show that one for it. With `host` and `none`, \
                 `io.ocinet.publish` has no effect, and a warning says so.",
                "For `host` and `container:CONTAINER` the container must be in that network namespace already, since a \
                 hook cannot move it there. `ocinet prepare`, podman's precreate stage and the shim see to that.",
                "Several networks are joined by `;`. Their interfaces are called eth0, eth1 and so on in this order. The \
                 default route is that of the first network that is not internal, or of the one with the highest \
                 `gw-priority`. Programs may write a JSON array of objects instead, with `network` and the options \
                 as keys: `[{\"network\": \"front\", \"ip\": \"10.64.0.5\"}, {\"network\": \"back\"}]`.",
            ],
            example: "bridge:ip=10.90.0.5,interface=net0",
            field: |a| &mut a.network,
        },
        AnnotationKey {
            name: "io.ocinet.publish",
            grammar: "[[HOST-ADDRESS:][HOST-PORT]:]CONTAINER-PORT[/PROTOCOL],...",
            help: &["Ports of the host that lead to ports of the container, see ocinet-publish(7). Without this \
                 key: none."],
            example: "8080:80,127.0.0.1:8443:443,9000-9002:9000-9002/udp",
            field: |a| &mut a.publish,
        },
        AnnotationKey {
            name: "io.ocinet.publish-via",
            grammar: "NETWORK",
            help: &[
                "Of several networks, the one by which published ports reach the container. Where its default route \
                 leaves by another network, the container sees the gateway of this one as the sender of what comes. \
                 Without this key: the network of the default route; where that route is none of ocinet's, the first \
                 that is not internal, likewise with the gateway as the sender.",
            ],
            example: "bridge",
            field: |a| &mut a.publish_via,
        },
        AnnotationKey {
            name: Self::NAME,
            grammar: "NAME",
            help: &[
                "What the container is called in tables, messages, /etc/hosts and comments of the firewall. Several \
                 containers may have one name. Without this key: its id.",
            ],
            example: "web",
            field: |a| &mut a.name,
        },
        AnnotationKey {
            name: Self::HOSTNAME,
            grammar: "HOST-NAME",
            help: &[
                "The container's host name, of at most 64 bytes. Without this key: the name, or the first 12 characters \
                 of the id.",
                "Where config.json has a `hostname`, the runtime sets that one after its hooks, and another one in this \
                 key is an error. `runc spec`, `crun spec` and `youki spec` write their own name there, such as `runc`. \
                 `ocinet prepare` replaces it by the value of this key; without this key, by that of `io.ocinet.name`; \
                 without either it stays.",
            ],
            example: "www.example.org",
            field: |a| &mut a.hostname,
        },
        AnnotationKey {
            name: "io.ocinet.dns",
            grammar: "ADDRESS,...",
            help: &[
                "Name servers for /etc/resolv.conf. Without this key: those of the host that the container reaches, \
                 see the page on files.",
            ],
            example: "192.0.2.53,2001:db8::53",
            field: |a| &mut a.dns,
        },
        AnnotationKey {
            name: "io.ocinet.dns-search",
            grammar: "DOMAIN,... | .",
            help: &["Search domains for /etc/resolv.conf; a dot for none. Without this key: the host's."],
            example: "example.org,example.net",
            field: |a| &mut a.dns_search,
        },
        AnnotationKey {
            name: "io.ocinet.dns-option",
            grammar: "OPTION,...",
            help: &["Options for /etc/resolv.conf, see resolv.conf(5). Without this key: the host's."],
            example: "ndots:2,timeout:1",
            field: |a| &mut a.dns_option,
        },
        AnnotationKey {
            name: Self::ADD_HOST,
            grammar: "HOST-NAME:ADDRESS,...",
            help: &["Further lines of /etc/hosts. The address `host-gateway` stands for the host, as the container \
                 reaches it; one of IPv6 may go in brackets."],
            example: "db:192.0.2.9,host.internal:host-gateway",
            field: |a| &mut a.add_host,
        },
    ];

    /// Picks ours out of all; `None` where there is none, which means: this container is not our business.
    pub fn pick(all: &HashMap<String, String>) -> Result<Option<Self>, Invalid> {
        let mut picked = None;
        for (key, value) in all.iter().filter(|(key, _)| key.starts_with(PREFIX) && *key != UNDO) {
            let Some(known) = Self::KEYS.iter().find(|known| known.name == key) else {
                return Err(Invalid::new("annotation", key, why_unknown(key)));
            };
            *(known.field)(picked.get_or_insert_default()) = Some(value.clone());
        }
        Ok(picked)
    }
}

fn why_unknown(key: &str) -> String {
    match key.strip_prefix(PREFIX) {
        Some(option @ ("ip" | "mac" | "interface" | "mtu" | "gw-priority" | "alias" | "guard")) => {
            format!("is no key of ocinet; it is an option of {}: bridge:{option}=...", Annotations::NETWORK)
        }
        Some(option) => match (synonym(option), nearest(option)) {
            (Some(known), _) | (None, Some(known)) => {
                format!("is no key of ocinet; did you mean {known}? See ocinet-annotations(7)")
            }
            (None, None) => "is no key of ocinet; see ocinet-annotations(7)".into(),
        },
        None => "is no key of ocinet; see ocinet-annotations(7)".into(),
    }
}

/// What others call our keys: Docker's and podman's options, and Compose's words.
const SYNONYMS: [(&[&str], &str); 8] = [
    (&["port", "ports", "expose", "publish-port", "publish-all", "p"], "io.ocinet.publish"),
    (&["net", "networks", "network-mode", "mode", "bridge"], Annotations::NETWORK),
    (&["container-name", "id"], Annotations::NAME),
    (&["host", "host-name"], Annotations::HOSTNAME),
    (&["hosts", "extra-hosts", "extra-host", "etc-hosts"], Annotations::ADD_HOST),
    (&["nameserver", "nameservers", "name-server", "dns-server", "dns-servers", "resolver"], "io.ocinet.dns"),
    (&["search", "domain", "domainname", "dns-domain"], "io.ocinet.dns-search"),
    (&["dns-opt", "dns-options", "resolv-options"], "io.ocinet.dns-option"),
];

fn synonym(option: &str) -> Option<&'static str> {
    SYNONYMS.iter().find(|(words, _)| words.contains(&option)).map(|(_, known)| *known)
}

/// The key that is near enough to be worth a guess: one edit in three letters.
fn nearest(option: &str) -> Option<&'static str> {
    let tolerance = (option.chars().count() / 3).max(1);
    let keys = Annotations::KEYS.iter().map(|known| known.name);
    let ranked = keys.map(|key| (strsim::damerau_levenshtein(key.trim_start_matches(PREFIX), option), key));
    ranked.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, key)| key)
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
        assert_eq!(pick(&[(UNDO, "[]")]), Ok(None));
    }

    #[test]
    fn a_typo_is_answered_with_the_nearest_key() {
        let error = pick(&[("io.ocinet.pubish", "80:80")]).unwrap_err().to_string();
        assert!(error.contains("\"io.ocinet.pubish\"") && error.contains("io.ocinet.publish?"), "{error}");
    }

    #[test]
    fn others_words_are_answered_with_ours() {
        for (key, expected) in [
            ("port", "publish"),
            ("ports", "publish"),
            ("net", "network"),
            ("extra-hosts", "add-host"),
            ("nameserver", "dns"),
        ] {
            let error = pick(&[(&format!("io.ocinet.{key}"), "x")]).unwrap_err().to_string();
            assert!(error.contains(&format!("io.ocinet.{expected}?")), "{error}");
        }
        let error = pick(&[("io.ocinet.colour", "red")]).unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn an_option_of_bridge_is_no_key() {
        let error = pick(&[("io.ocinet.ip", "10.90.0.5")]).unwrap_err().to_string();
        assert!(error.contains("io.ocinet.network: bridge:ip="), "{error}");
    }
}
