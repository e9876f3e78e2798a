//! What a value of TOML is read as. An error says what is wrong with it, and the caller which key has it.

use std::net::IpAddr;
use std::str::FromStr;

use toml::Value;

use crate::model::Invalid;

/// What is wrong with a value.
pub(in crate::input) type Read<T> = Result<T, String>;

pub(in crate::input) fn text(value: &Value) -> Read<&str> {
    value.as_str().ok_or_else(|| "is no text between quotes".into())
}

pub(in crate::input) fn yes_or_no(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| "is neither true nor false".into())
}

/// A number from `least` to `most`.
pub(in crate::input) fn number(least: u32, most: u32) -> impl Fn(&Value) -> Read<u32> {
    move |value| {
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("is no number from {least} to {most}"))
    }
}

/// A text that is one of ours.
pub(in crate::input) fn parsed<T: FromStr<Err = Invalid>>(value: &Value) -> Read<T> {
    text(value)?.parse().map_err(|error: Invalid| error.why)
}

/// An address that a host can have.
pub(in crate::input) fn address(value: &Value) -> Read<IpAddr> {
    let address = text(value)?.parse().ok().filter(|address: &IpAddr| !address.is_unspecified());
    address.ok_or_else(|| "is no address".into())
}

/// One of these words.
pub(in crate::input) fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Value) -> Read<T> {
    |value| {
        let said = text(value)?;
        let found = words.iter().find(|(word, _)| *word == said).map(|(_, meaning)| *meaning);
        let all = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("is none of {}", all()))
    }
}

/// A list of what `read` understands.
pub(in crate::input) fn each<T>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<T>> {
    move |value| {
        let one = |item| read(item).map_err(|why| format!("{item} {why}"));
        value.as_array().ok_or("is no list")?.iter().map(one).collect()
    }
}

/// The same, nothing twice.
pub(in crate::input) fn list<T: PartialEq>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<T>> {
    let each = each(read);
    move |value| {
        let list = each(value)?;
        let is_twice = |(nth, item): (usize, &T)| list[..nth].contains(item);
        if list.iter().enumerate().any(is_twice) { Err("names one twice".into()) } else { Ok(list) }
    }
}

/// Named values.
pub(in crate::input) fn named<T>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<(String, T)>> {
    move |value| {
        let table = value.as_table().ok_or("is no table")?;
        let one = |(name, value): (&String, &Value)| match read(value) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err(format!("{name:?} {why}")),
        };
        table.iter().map(one).collect()
    }
}
