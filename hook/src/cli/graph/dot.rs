//! The language of Graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::collections::BTreeSet;
use std::fmt::Write;

use super::picture::Picture;

/// A graph: networks between the uplinks and the containers.
pub(super) fn drawn(picture: &Picture) -> String {
    let mut text = String::from(
        "graph ocinet {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=9];\n",
    );
    for (nth, uplink) in picture.uplinks.iter().enumerate() {
        let _ = writeln!(text, "  u{nth} [shape=cds, label={}];", quoted(&["uplink", uplink]));
    }
    let mut seen = BTreeSet::new();
    for (nth, network) in picture.networks.iter().enumerate() {
        let mut label = vec![network.name.as_str()];
        label.extend(network.facts.iter().map(String::as_str));
        let _ = writeln!(text, "  n{nth} [style=rounded, label={}];", quoted(&label));
        for uplink in (0..picture.uplinks.len()).filter(|_| network.leads_out) {
            let _ = writeln!(text, "  u{uplink} -- n{nth};");
        }
        for node in &network.nodes {
            if seen.insert(node.number) {
                let label = [node.name.as_str(), &node.status].into_iter().chain(picture.ports_of(node.number));
                let _ = writeln!(text, "  c{} [label={}];", node.number, quoted(&label.collect::<Vec<_>>()));
            }
            let addresses: Vec<&str> = node.addresses.iter().map(String::as_str).collect();
            let _ = writeln!(text, "  n{nth} -- c{} [label={}];", node.number, quoted(&addresses));
        }
    }
    text + "}\n"
}

/// A string of the language with `lines`. In a label a backslash begins an escape, and an ampersand an entity of HTML.
fn quoted(lines: &[&str]) -> String {
    let line = |line: &&str| line.replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;");
    format!("\"{}\"", lines.iter().map(line).collect::<Vec<_>>().join("\\n"))
}
