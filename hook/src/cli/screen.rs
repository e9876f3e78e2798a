//! What stdout shows: a terminal's width and colours, or the text alone.

use ocinet::kernel;

/// The terminal or file that is printed to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Screen {
    /// The number of characters in a line; `None` if there is no limit.
    pub(super) columns: Option<usize>,
    /// Whether it shows colours (ECMA-48, SGR).
    pub(super) colour: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

impl Screen {
    /// That of this process.
    pub(super) fn of_stdout() -> Self {
        let columns = kernel::terminal_columns().map(usize::from);
        // https://no-color.org, and a terminal without colours.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { columns, colour: columns.is_some() && !unwanted && !dumb }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.coloured(RED, text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.coloured(GREEN, text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.coloured(YELLOW, text)
    }

    fn coloured(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `text` in lines that fit the terminal, each further one with `indent` before it. A longer word stays whole, since
    /// half a path is none.
    pub(super) fn wrapped(self, text: &str, indent: &str) -> String {
        let Some(columns) = self.columns else { return text.to_owned() };
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let line = lines.last_mut().expect("there is a first line");
            let wide = line.chars().count() + 1 + word.chars().count();
            if line.trim().is_empty() {
                line.push_str(word);
            } else if wide > columns {
                lines.push(format!("{indent}{word}"));
            } else {
                line.push(' ');
                line.push_str(word);
            }
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_words_stay_whole() {
        let screen = Screen { columns: Some(12), colour: false };
        assert_eq!(
            screen.wrapped("wrong: bridge ocinet0 is a-very-long-word", "  "),
            "wrong:\n  bridge\n  ocinet0 is\n  a-very-long-word"
        );
        assert_eq!(Screen::default().wrapped("one two three four five", "  "), "one two three four five");
        assert_eq!(Screen { colour: true, ..screen }.green("up"), "\u{1b}[32mup\u{1b}[0m");
        assert_eq!(screen.red("down"), "down");
    }
}
