//! A container's names and its name servers: the part of a request that ends up in its files.

use std::net::{IpAddr, Ipv4Addr};

use crate::input::{Annotations, Bundle};
use crate::model::{ContainerId, ContainerName, HostName, Invalid, ResolverChoice};

/// A container's names and name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name it is known by.
    pub name: ContainerName,
    /// The host name.
    pub hostname: HostNameSource,
    /// What it chooses for its resolv.conf.
    pub resolver: ResolverChoice,
    /// `io.ocinet.add-host`: further lines of `/etc/hosts`.
    pub hosts: Vec<(HostName, HostTarget)>,
}

/// Where the host name comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostNameSource {
    /// The runtime sets this one, after the hooks.
    Spec(HostName),
    /// We set it.
    Ours(HostName),
    /// The container shares the host's UTS namespace.
    Host,
}

/// What a further host name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostTarget {
    /// This address.
    Address(IpAddr),
    /// `host-gateway`: the host, as the container reaches it.
    Gateway,
}

impl Identity {
    /// Reads the annotations and the spec.
    ///
    /// # Errors
    /// [`Invalid`] names the annotation and its value.
    pub fn new(annotations: &Annotations, bundle: &Bundle, id: &ContainerId) -> Result<Self, Invalid> {
        let name = match &annotations.name {
            Some(name) => name.parse().map_err(|e: Invalid| e.within("annotation io.ocinet.name"))?,
            None => ContainerName::from(id),
        };
        Ok(Self {
            hostname: hostname(annotations, bundle, id, &name)?,
            name,
            resolver: ResolverChoice {
                dns: list(&annotations.dns, "io.ocinet.dns", parse_address)?,
                search: list(&annotations.dns_search, "io.ocinet.dns-search", parse_search)?,
                options: list(&annotations.dns_option, "io.ocinet.dns-option", parse_option)?,
            },
            hosts: list(&annotations.add_host, "io.ocinet.add-host", parse_host)?,
        })
    }
}

fn hostname(
    annotations: &Annotations,
    bundle: &Bundle,
    id: &ContainerId,
    name: &ContainerName,
) -> Result<HostNameSource, Invalid> {
    const FIELD: &str = "annotation io.ocinet.hostname";
    let wanted: Option<HostName> =
        annotations.hostname.as_deref().map(str::parse).transpose().map_err(|e: Invalid| e.within(FIELD))?;
    // The kernel keeps no more (__NEW_UTS_LEN).
    if let Some(wanted) = wanted.as_ref().filter(|wanted| wanted.as_str().len() > 64) {
        return Err(Invalid::new(FIELD, wanted, "is longer than the kernel's 64 bytes"));
    }
    if !bundle.has_own_uts_namespace() {
        return match wanted {
            Some(wanted) => {
                Err(Invalid::new(FIELD, wanted, "is wanted for a container that shares the host's UTS namespace"))
            }
            None => Ok(HostNameSource::Host),
        };
    }
    let Some(spec) = bundle.hostname.as_deref().filter(|spec| !spec.is_empty()) else {
        let short: String = id.as_str().chars().take(12).collect();
        let default = if annotations.name.is_some() { name.as_str() } else { &short };
        return Ok(HostNameSource::Ours(wanted.unwrap_or_else(|| HostName::resembling(default))));
    };
    match wanted {
        Some(wanted) if wanted.as_str() != spec => {
            let remedy = if bundle.has_templates_hostname() { "ocinet prepare does that" } else { "change that one" };
            let why = format!(
                "differs from hostname {spec:?} of config.json, which the runtime sets after its hooks; {remedy}"
            );
            Err(Invalid::new(FIELD, wanted, why))
        }
        _ => Ok(HostNameSource::Spec(spec.parse().unwrap_or_else(|_| HostName::resembling(spec)))),
    }
}

/// Parses a list joined by commas or blanks.
fn list<T>(text: &Option<String>, key: &str, parse: fn(&str) -> Result<T, Invalid>) -> Result<Vec<T>, Invalid> {
    let items = text.as_deref().unwrap_or_default().split([',', ' ']).map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| parse(item).map_err(|e| e.within(&format!("annotation {key}")))).collect()
}

fn parse_address(text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid::new("", text, "is no IP address"))
}

fn parse_search(text: &str) -> Result<String, Invalid> {
    if text == "." { Ok(text.to_owned()) } else { text.parse().map(|name: HostName| name.to_string()) }
}

/// resolv.conf(5): a word, or a word and a number.
fn parse_option(text: &str) -> Result<String, Invalid> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_:".contains(c);
    if text.len() <= 64 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("", text, "is no resolver option, as ndots:2 is"))
}

fn parse_host(text: &str) -> Result<(HostName, HostTarget), Invalid> {
    let (name, target) =
        text.split_once(':').ok_or_else(|| Invalid::new("", text, "is not of the form NAME:ADDRESS"))?;
    let target = match target.trim_start_matches('[').trim_end_matches(']') {
        "host-gateway" => HostTarget::Gateway,
        address => HostTarget::Address(
            address
                .parse()
                .map_err(|_| Invalid::new("", text, "has neither an IP address nor host-gateway behind its name"))?,
        ),
    };
    Ok((name.parse()?, target))
}

/// The address at which a container with the host's network reaches the host.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(pairs: &[(&str, &str)], spec: &str) -> Result<Identity, Invalid> {
        let all = pairs.iter().map(|(key, value)| (format!("io.ocinet.{key}"), value.to_string())).collect();
        let annotations = Annotations::pick(&all)?.unwrap_or_default();
        let spec = format!(r#"{{"root":{{"path":"r"}},{spec}}}"#);
        Identity::new(&annotations, &Bundle::parse(spec.as_bytes(), "/b")?, &"0123456789abcdef".parse()?)
    }

    const UTS: &str = r#""linux":{"namespaces":[{"type":"uts"}]}"#;

    #[test]
    fn the_host_name_has_an_order_of_sources() {
        let of = |pairs: &[(&str, &str)], spec: &str| identity(pairs, spec).unwrap().hostname;
        let ours = |name: &str| HostNameSource::Ours(name.parse().unwrap());
        assert_eq!(of(&[], UTS), ours("0123456789ab"));
        assert_eq!(of(&[("name", "web")], UTS), ours("web"));
        assert_eq!(of(&[("name", "my_web")], UTS), ours("my-web"));
        assert_eq!(of(&[("name", "web"), ("hostname", "www.example.org")], UTS), ours("www.example.org"));
        let named = format!(r#""hostname":"runc",{UTS}"#);
        assert_eq!(of(&[("name", "web")], &named), HostNameSource::Spec("runc".parse().unwrap()));
        assert_eq!(of(&[("hostname", "runc")], &named), HostNameSource::Spec("runc".parse().unwrap()));
        let underscored = format!(r#""hostname":"a_b",{UTS}"#);
        assert_eq!(of(&[], &underscored), HostNameSource::Spec("a_b".parse().unwrap()), "as the runtime sets it");
        assert_eq!(of(&[], r#""linux":{}"#), HostNameSource::Host);
        let refusal = |spec: &str| identity(&[("hostname", "web")], spec).unwrap_err().to_string();
        assert!(refusal(&named).contains("\"runc\"") && refusal(&named).contains("ocinet prepare"));
        assert!(refusal(&named.replace("runc", "shop")).contains("change that one"));
        assert!(identity(&[("hostname", "web")], r#""linux":{}"#).unwrap_err().to_string().contains("UTS"));
    }

    #[test]
    fn lists() {
        let identity = identity(
            &[
                ("dns", "192.0.2.1, 2001:db8::1"),
                ("dns-search", "example.org,."),
                ("dns-option", "ndots:2"),
                ("add-host", "db:192.0.2.9,v6:[::2],host:host-gateway"),
            ],
            UTS,
        )
        .unwrap();
        assert_eq!(identity.resolver.dns.len(), 2);
        assert_eq!(identity.resolver.search, ["example.org", "."]);
        assert_eq!(identity.resolver.options, ["ndots:2"]);
        assert_eq!(identity.hosts[1].1, HostTarget::Address("::2".parse().unwrap()));
        assert_eq!(identity.hosts[2].1, HostTarget::Gateway);
    }

    #[test]
    fn what_would_write_other_lines_is_refused() {
        let long = "x".repeat(300);
        let long_host = format!("{long}:192.0.2.1");
        let rows = [
            ("add-host", "a\nb:192.0.2.1"),
            ("add-host", "a b:192.0.2.1"),
            ("add-host", &long_host),
            ("add-host", "db"),
            ("add-host", "db:192.0.2"),
            ("name", "a\nb"),
            ("name", "a,b"),
            ("name", &long),
            ("hostname", "a\nb"),
            ("hostname", "a,b"),
            ("hostname", &long),
            ("hostname", ""),
            ("dns-search", "a\nnameserver 192.0.2.1"),
            ("dns-search", &long),
            ("dns-option", "a\tb"),
            ("dns", "example.org"),
        ];
        for (key, value) in rows {
            let error = identity(&[(key, value)], UTS).unwrap_err().to_string();
            assert!(error.starts_with(&format!("annotation io.ocinet.{key}")) && !error.contains('\n'), "{error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(name in ".{0,80}", host in ".{0,80}") {
            let _ = identity(&[("name", &name), ("hostname", &host), ("add-host", &host), ("dns", &name)], UTS);
        }
    }
}
