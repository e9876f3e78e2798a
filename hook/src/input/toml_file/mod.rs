//! A file of TOML, read key by key. What is wrong with one key is noted with its line, and the others are read: a hook
//! refuses the file with its first mistake, and a check of the file tells all of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use crate::model::{Invalid, shown};

mod values;

pub(super) use values::{Read, address, each, list, named, number, one_of, parsed, text, yes_or_no};

/// A table, of which keys are taken until none is left.
pub(super) struct Keys<'t> {
    file: &'t File<'t>,
    /// The part of the file that the table is, as errors call it: `subnet 1: `; nothing for the whole.
    part: String,
    /// The line where it begins; none for the whole.
    line: Option<usize>,
    table: DeTable<'t>,
    /// The line of each key.
    lines: BTreeMap<String, usize>,
    /// The keys that were asked for.
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

/// A file, and how much of it is TOML.
pub(super) struct File<'t> {
    /// What errors call it: `config /etc/ocinet/config.toml`.
    name: &'t str,
    text: &'t str,
    /// What is no TOML. Which keys such a file has is not known for sure: none is said to be missing or unknown, and
    /// nothing is said of a value on the same line.
    broken: Vec<Mistake>,
}

/// Something wrong, and the line where; none where it concerns the whole file.
#[derive(Clone)]
struct Mistake {
    line: Option<usize>,
    error: Invalid,
}

/// Reads the file `name`, which says `text`, by `read`.
///
/// # Errors
/// All of its mistakes, in the order of its lines.
pub(super) fn read<T>(name: &str, text: &str, read: impl FnOnce(&mut Keys) -> Option<T>) -> Result<T, Vec<Invalid>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut file = File { name, text, broken: Vec::new() };
    file.broken = errors.iter().map(|error| file.no_toml(error)).collect();
    let mut keys = Keys::of(&file, String::new(), None, table.into_inner());
    let done = read(&mut keys);
    let mut mistakes = keys.end();
    mistakes.extend(file.broken.iter().cloned());
    mistakes.sort_by_key(|mistake| mistake.line);
    match done {
        Some(done) if mistakes.is_empty() => Ok(done),
        _ => Err(mistakes.into_iter().map(|mistake| mistake.error).collect()),
    }
}

/// What a hook says of a file with these mistakes.
pub(super) fn first(mistakes: Vec<Invalid>) -> Invalid {
    mistakes.into_iter().next().expect("a file is refused for a mistake")
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
    }

    fn no_toml(&self, error: &toml::de::Error) -> Mistake {
        let line = error.span().map_or(1, |span| self.line(&span));
        let said = self.text.lines().nth(line - 1).unwrap_or("");
        Mistake { line: Some(line), error: Invalid::new(self.place(Some(line)), said, error.message()) }
    }

    fn place(&self, line: Option<usize>) -> String {
        line.map_or_else(|| self.name.to_owned(), |line| format!("{}, line {line}", self.name))
    }
}

impl<'t> Keys<'t> {
    fn of(file: &'t File<'t>, part: String, line: Option<usize>, table: DeTable<'t>) -> Self {
        let lines = table.keys().map(|key| (key.get_ref().to_string(), file.line(&key.span()))).collect();
        Self { file, part, line, table, lines, known: Vec::new(), mistakes: Vec::new() }
    }

    /// The value of `key` as `read` understands it; none where the table has no such key, or a value that will not do.
    pub(super) fn take<T>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Read<T>) -> Option<T> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        let value = self.value(key, value)?;
        read(&value).map_err(|why| self.wrong(key, &value, why)).ok()
    }

    /// The same of a key that has to be there.
    pub(super) fn need<T>(&mut self, key: &'static str, read: impl FnOnce(&Value) -> Read<T>) -> Option<T> {
        if !self.table.contains_key(key) && self.file.broken.is_empty() {
            self.wrong(key, &"", "is missing".into());
        }
        self.take(key, read)
    }

    /// The tables of the list `key`, each as `read` understands its keys; none where there is no such list.
    pub(super) fn tables<T>(&mut self, key: &'static str, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.known.push(key);
        let list = self.table.remove(key)?;
        let DeValue::Array(items) = list.get_ref() else {
            self.no_table(key, list);
            return None;
        };
        let mut all = Vec::new();
        for (nth, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else {
                self.no_table(key, item.clone());
                continue;
            };
            let part = format!("{}{key} {}: ", self.part, nth + 1);
            let mut keys = Self::of(self.file, part, Some(self.file.line(&item.span())), table.clone());
            all.extend(read(&mut keys));
            self.mistakes.extend(keys.end());
        }
        Some(all)
    }

    fn no_table(&mut self, key: &'static str, value: Spanned<DeValue<'t>>) {
        if let Some(value) = self.value(key, value) {
            self.wrong(key, &value, format!("is no list of tables: [[{key}]]"));
        }
    }

    /// What TOML's grammar allows is not always a value: a number may be too large.
    fn value(&mut self, key: &str, value: Spanned<DeValue<'t>>) -> Option<Value> {
        let said = self.file.text.get(value.span()).unwrap_or_default();
        let value = Value::deserialize(ValueDeserializer::from(value));
        value.map_err(|_| self.wrong(key, &said, "is too large a number".into())).ok()
    }

    /// Whether nothing was wrong yet, so that it can be said whether the values go together.
    pub(super) fn is_sound(&self) -> bool {
        self.mistakes.is_empty() && self.file.broken.is_empty()
    }

    /// Notes that the value of `key` will not do.
    pub(super) fn wrong(&mut self, key: &str, value: &impl Display, why: String) {
        let value = value.to_string();
        // A text is named without its quotes, as the error puts its own around.
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(&value);
        self.refuse(Invalid::new(key, value, why));
    }

    /// Notes `error`, which is about the key that it names.
    pub(super) fn refuse(&mut self, error: Invalid) {
        let line = self.lines.get(&error.field).copied().or(self.line);
        if line.is_none() || !self.file.broken.iter().any(|broken| broken.line == line) {
            let field = format!("{}: {}{}", self.file.place(line), self.part, shown(&error.field));
            self.mistakes.push(Mistake { line, error: Invalid { field, ..error } });
        }
    }

    /// What was wrong, the keys that are left included.
    fn end(mut self) -> Vec<Mistake> {
        let why = format!("is no key; there are {}", self.known.join(", "));
        if self.file.broken.is_empty() {
            for (key, value) in std::mem::take(&mut self.table) {
                if let Some(value) = self.value(key.get_ref(), value) {
                    self.wrong(key.get_ref(), &value, why.clone());
                }
            }
        }
        self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let read = read("file", text, |keys| {
            let number = keys.take("a", number(1, 9));
            keys.tables("list", |keys| keys.need("b", yes_or_no));
            number
        });
        read.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_mistakes_are_told_in_the_order_of_their_lines() {
        let text = "c = 1\n\na = 'x'\n[[list]]\n[[list]]\nb = 7\n\"d\\u001b\" = 99999999999999999999\n";
        assert_eq!(
            mistakes(text),
            [
                "file, line 1: c \"1\": is no key; there are a, list",
                "file, line 3: a \"x\": is no number from 1 to 9",
                "file, line 4: list 1: b \"\": is missing",
                "file, line 6: list 2: b \"7\": is neither true nor false",
                "file, line 7: list 2: d\\u{1b} \"99999999999999999999\": is too large a number",
            ]
        );
    }

    /// Keys that a broken line hides are not said to be missing, nor what is made of it to be wrong.
    #[test]
    fn a_line_that_is_no_toml_is_told_once_and_the_other_values_are_read() {
        assert_eq!(
            mistakes("a = x\nlist = 3\n[[list]\nc = 5\n"),
            [
                "file, line 1 \"a = x\": string values must be quoted, expected literal string",
                "file, line 2: list \"3\": is no list of tables: [[list]]",
                "file, line 3 \"[[list]\": unclosed array table, expected `]`",
            ]
        );
    }
}
