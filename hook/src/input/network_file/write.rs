//! From a [`Definition`] to text.

use std::fmt::Write;

use super::Definition;
use crate::model::{Family, GatewayMode, Masquerade, StaticRoute, Subnet};

impl Definition {
    /// The text of its file.
    pub fn text(&self) -> String {
        let mut text = String::from("driver = \"bridge\"\n");
        if let Some(link) = &self.link {
            line(&mut text, "bridge", &quoted(link));
        }
        self.write_options(&mut text);
        if let Some(created) = &self.created {
            text += "# ocinet network prune removes the files that have this.\n";
            line(&mut text, "created", created);
        }
        self.subnets.iter().for_each(|subnet| write_subnet(&mut text, subnet));
        for StaticRoute { to, via, metric } in &self.options.routes {
            text += "\n[[route]]\n";
            line(&mut text, "to", &quoted(to));
            line(&mut text, "via", &quoted(via));
            metric.iter().for_each(|metric| line(&mut text, "metric", metric));
        }
        if !self.options.labels.is_empty() {
            text += "\n[labels]\n";
            self.options.labels.iter().for_each(|(key, value)| line(&mut text, &quoted(key), &quoted(value)));
        }
        text
    }

    fn write_options(&self, text: &mut String) {
        let options = &self.options;
        if !self.families.contains(Family::V4) {
            line(text, "ipv4", &false);
        }
        if self.families.contains(Family::V6) {
            line(text, "ipv6", &true);
        }
        if options.mtu_fixed {
            line(text, "mtu", &options.mtu);
        }
        if options.internal {
            line(text, "internal", &true);
        }
        if !options.icc {
            line(text, "icc", &false);
        }
        if options.masquerade != Masquerade::On {
            line(text, "masquerade", &quoted(options.masquerade));
        }
        if options.mode != GatewayMode::Nat {
            line(text, "mode", &quoted(options.mode));
        }
        options.mode6.iter().for_each(|mode| line(text, "mode6", &quoted(mode)));
        if options.ndp_proxy {
            line(text, "ndp_proxy", &true);
        }
        options.host_binding.iter().for_each(|address| line(text, "host_binding", &quoted(address)));
        options.interface_prefix.iter().for_each(|prefix| line(text, "interface_prefix", &quoted(prefix)));
        if !options.trusted_interfaces.is_empty() {
            line(text, "trusted_interfaces", &list(&options.trusted_interfaces));
        }
        if !options.dns.is_empty() {
            line(text, "dns", &list(&options.dns));
        }
    }
}

/// The part of a file that says `subnet`. It may stand behind all other parts.
pub fn write_subnet(text: &mut String, subnet: &Subnet) {
    *text += "\n[[subnet]]\n";
    line(text, "range", &quoted(subnet.range));
    subnet.gateway.address().iter().for_each(|gateway| line(text, "gateway", &quoted(gateway)));
    subnet.pool.iter().for_each(|pool| line(text, "pool", &quoted(pool)));
    if !subnet.aux.is_empty() {
        let one = |(name, address)| format!("{} = {}", quoted(name), quoted(address));
        line(text, "aux", &format!("{{ {} }}", subnet.aux.iter().map(one).collect::<Vec<_>>().join(", ")));
    }
}

fn line(text: &mut String, key: &str, value: &dyn std::fmt::Display) {
    let _ = writeln!(text, "{key} = {value}");
}

/// A text of TOML on one line, which may stand for a key as well.
fn quoted(value: impl ToString) -> String {
    let mut text = String::from("\"");
    for c in value.to_string().chars() {
        let _ = match c {
            '"' | '\\' => write!(text, "\\{c}"),
            c if c.is_control() => write!(text, "\\u{:04X}", u32::from(c)),
            c => write!(text, "{c}"),
        };
    }
    text + "\""
}

fn list(values: &[impl ToString]) -> String {
    format!("[{}]", values.iter().map(|value| quoted(value.to_string())).collect::<Vec<_>>().join(", "))
}
