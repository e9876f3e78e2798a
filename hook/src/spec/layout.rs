use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

/// How a JSON text is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// What a level is indented by; `None` where everything is on one line.
    indent: Option<Vec<u8>>,
    /// Whether the text ends with a line feed.
    ends_line: bool,
}

impl Layout {
    /// The layout of a text, as its second line shows it.
    pub(super) fn of(json: &[u8]) -> Self {
        let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let body = json.trim_ascii();
        let second = body.iter().position(|byte| *byte == b'\n').map(|end| &body[end + 1..]);
        let indent = second.map(|line| line.iter().copied().take_while(is_blank).collect());
        Self { indent, ends_line: json.ends_with(b"\n") }
    }

    /// The text of `spec`.
    pub(super) fn print(&self, spec: &Map<String, Value>) -> Vec<u8> {
        let mut text = Vec::new();
        let printed = match &self.indent {
            Some(indent) => {
                let formatter = PrettyFormatter::with_indent(indent);
                spec.serialize(&mut Serializer::with_formatter(&mut text, formatter))
            }
            None => spec.serialize(&mut Serializer::new(&mut text)),
        };
        printed.expect("a value that was JSON can be written as JSON");
        if self.ends_line {
            text.push(b'\n');
        }
        text
    }
}
