//! Text that others chose, as a terminal may show it: ids, names, paths, what parsers and programs said.

use std::fmt::Write;

/// `text` with everything escaped that a terminal does not show as what it is: control characters, which move its
/// cursor and set its colours, and those that reorder, hide or break text (Unicode's categories Cc, Cf, Zl, Zp and Zs
/// but the blank, and what is not assigned). One line, therefore.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}

/// The same value in JSON that shows no such character either, as its strings allow (RFC 8259, section 7).
pub fn shown_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Strings have no control character below U+0020 that is not escaped yet; between values they are layout.
        if c < ' ' || is_printable(c) {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// Whether a terminal shows `c` as a mark of its own, or on the one before it.
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    // It leaves combining marks alone, but at the beginning of a text.
    format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind that must not get through, and what names it.
    const HOSTILE: [(char, &str); 14] = [
        ('\u{1b}', "\\u{1b}"),
        ('\n', "\\n"),
        ('\r', "\\r"),
        ('\t', "\\t"),
        ('\0', "\\0"),
        ('\u{7f}', "\\u{7f}"),
        ('\u{9b}', "\\u{9b}"),
        ('\u{ad}', "\\u{ad}"),
        ('\u{200b}', "\\u{200b}"),
        ('\u{200e}', "\\u{200e}"),
        ('\u{202e}', "\\u{202e}"),
        ('\u{2028}', "\\u{2028}"),
        ('\u{2066}', "\\u{2066}"),
        ('\u{e0041}', "\\u{e0041}"),
    ];

    #[test]
    fn nothing_that_a_terminal_obeys_or_hides_is_shown() {
        for (c, escape) in HOSTILE {
            assert_eq!(shown(&format!("a{c}b")), format!("a{escape}b"));
        }
    }

    #[test]
    fn text_of_any_script_is_shown_as_it_is() {
        for text in ["web", r#"a b "c" 'd' \x2d"#, "Grüße", "e\u{301}", "店", "हिन्दी", "שלום", "🦀", ""]
        {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn json_says_the_same_without_them() {
        for (c, _) in HOSTILE {
            let value = serde_json::json!({ "a": [format!("x{c}ü\"\\")] });
            let text = shown_json(&serde_json::to_string_pretty(&value).unwrap());
            assert!(text.chars().all(|c| c == '\n' || is_printable(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
