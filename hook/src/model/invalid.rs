use std::fmt;

use super::shown;

/// Input that is refused: which field, its value, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {}: {}", quoted(.value), plain(.why))]
pub struct Invalid {
    /// The field as the user wrote it: `annotation io.ocinet.publish`, `state: id`.
    pub field: String,
    /// The value found there.
    pub value: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl Invalid {
    /// An error about `value` found in `field`.
    pub fn new(field: impl Into<String>, value: impl fmt::Display, why: impl Into<String>) -> Self {
        Self { field: field.into(), value: value.to_string(), why: why.into() }
    }

    /// The same complaint about a value that was part of a larger field.
    pub fn within(mut self, field: &str) -> Self {
        self.field = if self.field.is_empty() { field.to_owned() } else { format!("{field}: {}", self.field) };
        self
    }
}

/// `value` between quotes, on one line and of bounded length, whatever it holds.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 80;
    let mut text: String = value.chars().take(SHOWN).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    format!("{text:?}")
}

/// An explanation on one line and of bounded length: a parser's may quote what it read.
fn plain(why: &str) -> String {
    const SHOWN: usize = 400;
    let mut text: String = why.chars().take(SHOWN).collect();
    if text.len() < why.len() {
        text.push('…');
    }
    shown(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_on_one_short_line() {
        let line = Invalid::new("state: id", "a\nb\u{1b}[31m".repeat(1000), "is too long").to_string();
        assert!(!line.contains('\n') && !line.contains('\u{1b}') && line.len() < 400, "{line}");
        let quoting = format!("has the unknown variant `{}`", "a\nb\u{1b}[31m".repeat(1000));
        let line = Invalid::new("config", "/b", quoting).to_string();
        assert!(!line.contains('\n') && !line.contains('\u{1b}') && line.len() < 3000, "{line}");
    }
}
