//! A command line that clap refuses, in one line with what to type instead; `help` and `version` as words.

use std::ffi::OsString;
use std::io::Write;

use clap::CommandFactory;

use ocinet::model::shown;

use super::{Arguments, words};

/// Prints help and versions as they are, and an error of the command line in one line with clap's tips. Returns the
/// exit code.
pub fn usage(error: &clap::Error) -> u8 {
    let asked = !error.use_stderr();
    if asked || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // stdout is closed: the failure cannot be reported.
        let _ = error.print();
        return if asked { 0 } else { 2 };
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let mut line = paragraph.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    match instead(error) {
        Some(sentence) => line = format!("{line}; {sentence}"),
        None => {
            for tip in text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).filter_map(harmless) {
                line = format!("{line}; {tip}");
            }
        }
    }
    // As with help, an error means that stderr is closed; `eprintln` would panic.
    let command = command_named_by(std::env::args_os().skip(1));
    let _ = writeln!(std::io::stderr(), "ocinet: {}; see {command} --help", shown(&line));
    2
}

/// What to do instead of a word that others' programs have.
fn instead(error: &clap::Error) -> Option<&'static str> {
    use clap::error::{ContextKind, ContextValue};
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let command = word(ContextKind::InvalidSubcommand).and_then(words::instead_of_command);
    command.or_else(|| word(ContextKind::InvalidArg).and_then(words::instead_of_option))
}

/// A tip of clap without the command `reset`: a typing error must not lead to the command that removes everything.
fn harmless(tip: &str) -> Option<String> {
    let (what, commands) = match tip.split_once(": ") {
        Some((what, commands)) if what.contains("subcommand") => (what, commands),
        _ => return Some(tip.to_owned()),
    };
    let left: Vec<&str> = commands.split(", ").filter(|command| *command != "'reset'").collect();
    (!left.is_empty()).then(|| format!("{what}: {}", left.join(", ")))
}

/// `help COMMAND` and `version`, which many programs have, as clap would have them.
pub(super) fn in_our_words(line: Vec<OsString>) -> Vec<OsString> {
    let mut rest = line.get(2..).unwrap_or_default().to_vec();
    match line.get(1).and_then(|word| word.to_str()) {
        Some("help") => {
            rest.push("--help".into());
            line[..1].iter().cloned().chain(rest).collect()
        }
        // Those that have commands of their own.
        Some("network" | "config" | "agent") if rest.len() == 1 && rest[0] == "help" => {
            line[..2].iter().cloned().chain(["--help".into()]).collect()
        }
        Some("version") if rest.is_empty() => vec![line[0].clone(), "--version".into()],
        _ => line,
    }
}

/// The command that the words of a command line name: `ocinet`, or with its subcommands, such as `ocinet network ls`.
fn command_named_by(words: impl Iterator<Item = OsString>) -> String {
    let root = Arguments::command();
    let (mut command, mut name) = (&root, root.get_name().to_owned());
    for word in words {
        if let Some(subcommand) = command.find_subcommand(&word) {
            name = format!("{name} {}", subcommand.get_name());
            command = subcommand;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_the_command_is_named() {
        let rows = [
            ("prepare --publsh 80", "ocinet prepare"),
            ("--state-dir /s network lss", "ocinet network"),
            ("ls --jsn", "ocinet ps"),
            ("isnpect web", "ocinet"),
            ("", "ocinet"),
        ];
        for (line, expected) in rows {
            assert_eq!(command_named_by(line.split_whitespace().map(OsString::from)), expected, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_words_too() {
        let line = |text: &str| {
            let words = std::iter::once("ocinet").chain(text.split_whitespace()).map(OsString::from).collect();
            in_our_words(words)
                .into_iter()
                .skip(1)
                .map(|word| word.into_string().unwrap())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let rows = [
            ("help", "--help"),
            ("help network ls", "network ls --help"),
            ("version", "--version"),
            ("network help", "network --help"),
            ("ps help", "ps help"),
            ("", ""),
        ];
        rows.iter().for_each(|(typed, expected)| assert_eq!(line(typed), *expected, "{typed}"));
    }

    #[test]
    fn no_tip_names_reset() {
        assert_eq!(harmless("a similar subcommand exists: 'reset'"), None);
        let several = harmless("some similar subcommands exist: 'ps', 'reset'");
        assert_eq!(several.as_deref(), Some("some similar subcommands exist: 'ps'"));
        assert_eq!(
            harmless("a similar argument exists: '--json'").as_deref(),
            Some("a similar argument exists: '--json'")
        );
    }
}
