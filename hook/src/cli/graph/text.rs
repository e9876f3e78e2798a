//! Lines for a terminal.

use super::picture::{Drawn, Node, Picture};
use crate::cli::screen::Screen;

/// A tree: the host, its networks, their containers.
pub(super) fn drawn(picture: &Picture, screen: Screen) -> String {
    let uplinks = match picture.uplinks.is_empty() {
        true => "no default route".to_owned(),
        false => format!("uplinks {}", picture.uplinks.join(", ")),
    };
    let mut text = format!("host: {uplinks}\n");
    for (nth, network) in picture.networks.iter().enumerate() {
        let is_last = nth + 1 == picture.networks.len();
        let (branch, rest) = lead(is_last);
        text += &behind(branch, rest, &head(network), screen);
        for (nth, node) in network.nodes.iter().enumerate() {
            let (twig, below) = lead(nth + 1 == network.nodes.len());
            text += &behind(&format!("{rest}{twig}"), &format!("{rest}{below}"), &line(node), screen);
        }
    }
    text
}

/// What is said of an object, behind its branch; on a narrow screen it goes on behind what is `below` that.
fn behind(branch: &str, below: &str, said: &str, screen: Screen) -> String {
    let columns = screen.columns.map(|columns| columns.saturating_sub(branch.chars().count()));
    let wrapped = Screen { columns, ..screen }.wrapped(said, "  ");
    let leads = std::iter::once(branch).chain(std::iter::repeat(below));
    wrapped.lines().zip(leads).map(|(part, lead)| format!("{lead}{part}\n")).collect()
}

/// What stands before a line of a tree, and before those below it.
fn lead(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

fn head(network: &Drawn) -> String {
    let gap = if network.facts.is_empty() { "" } else { ": " };
    format!("{}{gap}{}", network.name, network.facts.join(", "))
}

fn line(node: &Node) -> String {
    let facts = [&node.addresses, &node.ports, &node.notes].into_iter().flatten().map(String::as_str);
    let facts: Vec<&str> = facts.collect();
    let gap = if facts.is_empty() { "" } else { ": " };
    format!("{} ({}){gap}{}", node.name, node.status, facts.join(", "))
}
