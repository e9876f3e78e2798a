use std::fmt;

use crate::model::InterfaceName;

/// A setting of the kernel's (sysctl(8)) and the value that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What comes after /proc/sys/. Between slashes, since an interface's name may hold dots.
    pub key: String,
    /// The value.
    pub value: &'static str,
}

impl Setting {
    /// That the host forwards IPv4.
    pub fn forwarding() -> Self {
        Self { key: "net/ipv4/ip_forward".into(), value: "1" }
    }

    /// That what comes in by `interface` is forwarded.
    pub fn forwarding_by(interface: &InterfaceName) -> Self {
        Self::of("ipv4", interface.as_str(), "forwarding", "1")
    }

    /// That `interface` has no IPv6.
    pub fn without_ipv6(interface: &InterfaceName) -> Self {
        Self::of("ipv6", interface.as_str(), "disable_ipv6", "1")
    }

    /// A setting of one interface.
    pub fn of(family: &str, interface: &str, name: &str, value: &'static str) -> Self {
        Self { key: format!("net/{family}/conf/{interface}/{name}"), value }
    }

    /// Its name, as `forwarding`.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// Whether only a kernel and a link with IPv6 have it.
    pub fn is_ipv6(&self) -> bool {
        self.key.starts_with("net/ipv6/")
    }

    /// Its file.
    pub fn path(&self) -> String {
        format!("/proc/sys/{}", self.key)
    }
}

/// As sysctl(8) takes it.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}
