//! Lines for a terminal.

use super::picture::{Node, Picture};
use crate::cli::screen::Screen;

/// How wide the branch is that stands before a line.
const LEAD: usize = 3;

/// A tree: the host, its networks, their containers.
pub(super) fn drawn(picture: &Picture, screen: Screen) -> String {
    let uplinks = match picture.uplinks.is_empty() {
        true => "no default route".to_owned(),
        false => format!("uplinks {}", picture.uplinks.join(", ")),
    };
    let mut text = format!("host: {uplinks}\n");
    let narrower = Screen { columns: screen.columns.map(|columns| columns.saturating_sub(2 * LEAD)), ..screen };
    for (nth, network) in picture.networks.iter().enumerate() {
        let is_last = nth + 1 == picture.networks.len();
        let (branch, rest) = lead(is_last);
        text += &format!("{branch}{}: {}\n", network.name, network.facts.join(", "));
        for (nth, node) in network.nodes.iter().enumerate() {
            let (twig, below) = lead(nth + 1 == network.nodes.len());
            for (nth, part) in narrower.wrapped(&line(node), "  ").lines().enumerate() {
                text += &format!("{rest}{}{part}\n", if nth == 0 { twig } else { below });
            }
        }
    }
    text
}

/// What stands before a line of a tree, and before those below it.
fn lead(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

fn line(node: &Node) -> String {
    let facts = [&node.addresses, &node.ports, &node.notes].into_iter().flatten().map(String::as_str);
    let facts: Vec<&str> = facts.collect();
    let gap = if facts.is_empty() { "" } else { ": " };
    format!("{} ({}){gap}{}", node.name, node.status, facts.join(", "))
}
