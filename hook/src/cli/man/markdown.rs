//! The reference pages of the folder `packaging/doc`, made from the same documents as the manual pages.

use std::fmt::Write;

use clap::{Arg, Command};

use super::document::{Document, Part, folded};

/// Names in the manual, and the links that replace them.
const LINKS: [(&str, &str); 6] = [
    ("ocinet-annotations(7)", "[annotations](annotations.md)"),
    ("ocinet-publish(7)", "[publishing ports](publish.md)"),
    ("ocinet-config(5)", "[configuration](configuration.md)"),
    ("the page on the firewall", "[the page on the firewall](firewall.md)"),
    ("the page on files", "[the page on files](files.md)"),
    ("the states of containers in ocinet(1)", "[the states of containers](#states-of-containers)"),
];

/// The first line of each page.
const ORIGIN: &str = "<!-- Made by `ocinet man --markdown packaging/doc`. Do not edit. -->\n";

/// A reference page.
pub(super) fn page(document: &Document, title: &str) -> String {
    let mut page = format!("{ORIGIN}\n# {title}\n");
    add(&mut page, &document.parts);
    page
}

/// All commands, followed by the notes that apply to all of them.
pub(super) fn commands(root: &Command, notes: &[Part]) -> String {
    let mut page = format!("{ORIGIN}\n# Commands\n");
    let about = root.get_long_about().or_else(|| root.get_about()).map(ToString::to_string).unwrap_or_default();
    about.split("\n\n").for_each(|text| paragraph(&mut page, text));
    let visible = |command: &&Command| !command.is_hide_set();
    let list = root.get_subcommands().filter(visible).map(|command| {
        let name = command.get_name();
        (format!("[`ocinet {name}`](#ocinet-{name})"), about_in_short(command))
    });
    let list: Vec<_> = list.collect();
    table(&mut page, ["command", "what it does"], &list);
    page += "\nEvery command takes:\n";
    arguments(&mut page, root);
    add(&mut page, notes);
    root.get_subcommands().filter(visible).for_each(|command| describe(&mut page, command, 2));
    page
}

fn about_in_short(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn describe(page: &mut String, command: &Command, level: usize) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    *page += &format!("\n{} {name}\n", "#".repeat(level));
    let about = command.get_long_about().map_or_else(|| about_in_short(command), ToString::to_string);
    about.split("\n\n").for_each(|text| paragraph(page, text));
    let usage = command.clone().render_usage().to_string();
    code(page, "text", usage.trim_start_matches("Usage: "));
    arguments(page, command);
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        let (head, lines) = help.split_once('\n').unwrap_or((&help, ""));
        *page += &format!("\n{head}\n");
        code(
            page,
            "text",
            &lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n"),
        );
    }
    let subcommands = command.get_subcommands().filter(|command| !command.is_hide_set());
    subcommands.for_each(|command| describe(page, command, level + 1));
}

/// The arguments of the command. Global options are listed once, with `ocinet` itself.
fn arguments(page: &mut String, command: &Command) {
    let top = command.get_name() == "ocinet";
    let own = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help" && arg.is_global_set() == top;
    let rows: Vec<_> = command.get_arguments().filter(own).map(|arg| (spelling(arg), meaning(arg))).collect();
    if !rows.is_empty() {
        table(page, ["argument", "meaning"], &rows);
    }
}

/// The form of an argument, such as `-p, --publish PORT`.
fn spelling(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let mut words = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        for name in names {
            words += &format!(" {name}");
        }
    }
    format!("`{}`", words.trim_start())
}

fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible = arg.get_possible_values();
    let values: Vec<_> = possible.iter().filter(|value| !value.is_hide_set()).map(|v| v.get_name()).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        text += &format!(": `{}`", values.join("`, `"));
    }
    if let Some(value) = arg.get_default_values().first().filter(|_| arg.get_action().takes_values()) {
        text += &format!("; default: `{}`", value.display());
    }
    text
}

fn add(page: &mut String, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Section(title) => *page += &format!("\n## {title}\n"),
            Part::Paragraph(text) => paragraph(page, text),
            Part::Table(head, rows) => table(page, *head, rows),
            Part::Key { name, grammar, paragraphs, example } => {
                *page += &format!("\n### `{name}`\n\nValue: `{grammar}`\n");
                paragraphs.iter().for_each(|text| paragraph(page, text));
                *page += &format!("\nExample: `{example}`\n");
            }
            Part::Literal(language, text) => code(page, language, text),
        }
    }
}

fn code(page: &mut String, language: &str, text: &str) {
    *page += &format!("\n```{language}\n{}\n```\n", text.trim_end());
}

fn table(page: &mut String, [left, right]: [&str; 2], rows: &[(String, String)]) {
    *page += &format!("\n| {left} | {right} |\n|---|---|\n");
    for (term, meaning) in rows {
        let cell = |text: &str| linked(text).replace('|', "\\|");
        // Writing to a text does not fail.
        let _ = writeln!(page, "| {} | {} |", cell(term), cell(meaning));
    }
}

fn paragraph(page: &mut String, text: &str) {
    page.push('\n');
    *page += &folded(&linked(text), "");
}

/// Replaces names by links, except inside backticks.
fn linked(text: &str) -> String {
    let words = |part: &str| {
        let part = part.replace('<', "\\<").replace('*', "\\*");
        LINKS.iter().fold(part, |part, (name, link)| part.replace(name, link))
    };
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(index, part)| if index % 2 == 0 { words(part) } else { format!("`{part}`") });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_linked() {
        let mut page = String::new();
        paragraph(&mut page, &format!("see ocinet-publish(7) and `a<b` {}", "word ".repeat(40)));
        assert!(page.starts_with("\nsee [publishing ports](publish.md) and `a<b` word"), "{page}");
        assert!(page.lines().all(|line| line.len() <= 120) && page.lines().count() == 4, "{page}");
    }
}
