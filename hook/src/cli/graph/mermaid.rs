//! A flowchart of Mermaid (<https://mermaid.js.org/syntax/flowchart.html>).

use std::fmt::Write;

use super::picture::{Object, Picture};

/// A graph: networks between the uplinks and the containers.
pub(super) fn drawn(picture: &Picture) -> String {
    let mut text = String::from("flowchart LR\n");
    for object in picture.objects() {
        let _ = match object {
            Object::Uplink(nth, name) => writeln!(text, "  u{nth}([\"uplink {}\"])", escaped(name)),
            Object::Network(nth, label) => writeln!(text, "  n{nth}(\"{}\")", lines(&label)),
            Object::Out(uplink, network) => writeln!(text, "  u{uplink} --- n{network}"),
            Object::Container(number, label) => writeln!(text, "  c{number}[\"{}\"]", lines(&label)),
            Object::Joint(network, number, label) if label.is_empty() => writeln!(text, "  n{network} --- c{number}"),
            Object::Joint(network, number, label) => {
                writeln!(text, "  n{network} ---|\"{}\"| c{number}", lines(&label))
            }
        };
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
