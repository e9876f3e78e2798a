use std::fmt;

use crate::model::InterfaceName;

/// A kernel setting (sysctl(8)) and its required value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The path below /proc/sys/. It has slashes, since an interface's name may hold dots.
    pub key: String,
    /// The value.
    pub value: &'static str,
}

impl Setting {
    /// IPv4 forwarding of the host.
    pub fn forwarding() -> Self {
        Self { key: "net/ipv4/ip_forward".into(), value: "1" }
    }

    /// Forwarding of packets that come in by `interface`.
    pub fn forwarding_by(interface: &InterfaceName) -> Self {
        Self::of("ipv4", interface.as_str(), "forwarding", "1")
    }

    /// No IPv6 on `interface`.
    pub fn without_ipv6(interface: &InterfaceName) -> Self {
        Self::of("ipv6", interface.as_str(), "disable_ipv6", "1")
    }

    /// A setting of one interface.
    pub fn of(family: &str, interface: &str, name: &str, value: &'static str) -> Self {
        Self { key: format!("net/{family}/conf/{interface}/{name}"), value }
    }

    /// Its name, such as `forwarding`.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it exists only on a kernel and a link with IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.key.starts_with("net/ipv6/")
    }

    /// Its file.
    pub fn path(&self) -> String {
        format!("/proc/sys/{}", self.key)
    }
}

/// In the form that sysctl(8) takes.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}
