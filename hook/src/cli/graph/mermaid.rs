//! A flowchart of Mermaid (<https://mermaid.js.org/syntax/flowchart.html>).

use std::collections::BTreeSet;
use std::fmt::Write;

use super::picture::Picture;

/// A graph: networks between the uplinks and the containers.
pub(super) fn drawn(picture: &Picture) -> String {
    let mut text = String::from("flowchart LR\n");
    for (nth, uplink) in picture.uplinks.iter().enumerate() {
        let _ = writeln!(text, "  u{nth}([\"uplink {}\"])", escaped(uplink));
    }
    let mut seen = BTreeSet::new();
    for (nth, network) in picture.networks.iter().enumerate() {
        let mut label = vec![network.name.as_str()];
        label.extend(network.facts.iter().map(String::as_str));
        let _ = writeln!(text, "  n{nth}(\"{}\")", lines(&label));
        for uplink in (0..picture.uplinks.len()).filter(|_| network.leads_out) {
            let _ = writeln!(text, "  u{uplink} --- n{nth}");
        }
        for node in &network.nodes {
            if seen.insert(node.number) {
                let label = [node.name.as_str(), &node.status].into_iter().chain(picture.ports_of(node.number));
                let _ = writeln!(text, "  c{}[\"{}\"]", node.number, lines(&label.collect::<Vec<_>>()));
            }
            let addresses: Vec<&str> = node.addresses.iter().map(String::as_str).collect();
            let label = match addresses.is_empty() {
                true => String::new(),
                false => format!("|\"{}\"|", lines(&addresses)),
            };
            let _ = writeln!(text, "  n{nth} ---{label} c{}", node.number);
        }
    }
    text
}

fn lines(lines: &[&str]) -> String {
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>")
}

/// Every character that could mean something to Mermaid, or to the page that it is drawn on, as its entity code.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || " .:/-_,".contains(c) {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}
