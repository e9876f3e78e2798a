//! The language of Graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::fmt::Write;

use super::picture::{Object, Picture};

/// A graph: networks between the uplinks and the containers.
pub(super) fn drawn(picture: &Picture) -> String {
    let mut text = String::from(
        "graph ocinet {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n  edge [fontname=\"monospace\", fontsize=9];\n",
    );
    for object in picture.objects() {
        let _ = match object {
            Object::Uplink(nth, name) => writeln!(text, "  u{nth} [shape=cds, label={}];", quoted(&["uplink", name])),
            Object::Network(nth, label) => writeln!(text, "  n{nth} [style=rounded, label={}];", quoted(&label)),
            Object::Out(uplink, network) => writeln!(text, "  u{uplink} -- n{network};"),
            Object::Container(number, label) => writeln!(text, "  c{number} [label={}];", quoted(&label)),
            Object::Joint(network, number, label) => {
                writeln!(text, "  n{network} -- c{number} [label={}];", quoted(&label))
            }
        };
    }
    text + "}\n"
}

/// A string of the language with `lines`. In a label a backslash begins an escape, and an ampersand an entity of HTML.
fn quoted(lines: &[&str]) -> String {
    let line = |line: &&str| line.replace('\\', "\\\\").replace('"', "\\\"").replace('&', "&amp;");
    format!("\"{}\"", lines.iter().map(line).collect::<Vec<_>>().join("\\n"))
}
