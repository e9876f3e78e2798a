//! What files of TOML have in common.

use crate::model::Invalid;

/// That `text` of `file` is not what it should be, with the line where.
pub(super) fn mistake(file: &str, text: &str, error: &toml::de::Error) -> Invalid {
    let line = error.span().map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
    Invalid::new(format!("{file}, line {line}"), text.lines().nth(line - 1).unwrap_or(""), error.message())
}
