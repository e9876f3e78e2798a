//! The keys of a table of TOML, each taken once.

use std::net::IpAddr;
use std::str::FromStr;

use toml::{Table, Value};

use crate::model::Invalid;

/// What is wrong with a value.
pub(super) type Read<T> = Result<T, String>;

/// A table, of which keys are taken until none is left.
pub(super) struct Keys {
    /// What errors call it.
    place: String,
    table: Table,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl Keys {
    pub(super) fn of(place: String, table: Table) -> Self {
        Self { place, table, known: Vec::new() }
    }

    /// The value of `key` as `read` understands it, where the table has it.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Read<T>,
    ) -> Result<Option<T>, Invalid> {
        self.known.push(key);
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        read(&value).map(Some).map_err(|why| self.wrong(key, &value, why))
    }

    /// The tables of the list `key`, each with its number.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Self>, Invalid> {
        self.known.push(key);
        let why = "is no list of tables";
        let list = match self.table.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) if list.is_empty() => {
                return Err(self.wrong(key, &"[]", "is empty; leave the key out".into()));
            }
            Some(Value::Array(list)) => list,
            Some(other) => return Err(self.wrong(key, &other, format!("{why}: [[{key}]]"))),
        };
        let one = |(nth, item)| match item {
            Value::Table(table) => Ok(Self::of(format!("{}: {key} {}", self.place, nth + 1), table)),
            other => Err(self.wrong(key, &other, format!("{why}: [[{key}]]"))),
        };
        list.into_iter().enumerate().map(one).collect()
    }

    /// That the value of `key` will not do.
    pub(super) fn wrong(&self, key: &str, value: &impl std::fmt::Display, why: String) -> Invalid {
        let value = value.to_string();
        // A text is named without its quotes, as the error puts its own around.
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(&value);
        Invalid::new(format!("{}: {key}", self.place), value, why)
    }

    /// That `error` is about the part of this table which it names.
    pub(super) fn about(&self, error: Invalid) -> Invalid {
        error.within(&self.place)
    }

    /// That the table has no `key`.
    pub(super) fn missing(&self, key: &str) -> Invalid {
        self.wrong(key, &"", "is missing".into())
    }

    /// Refuses the keys that are left.
    pub(super) fn end(self) -> Result<(), Invalid> {
        match self.table.iter().next() {
            Some((key, value)) => {
                Err(self.wrong(key, value, format!("is no key; there are {}", self.known.join(", "))))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn text(value: &Value) -> Read<&str> {
    value.as_str().ok_or_else(|| "is no text between quotes".into())
}

pub(super) fn yes_or_no(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| "is neither true nor false".into())
}

/// A number from `least` to `most`.
pub(super) fn number(least: u32, most: u32) -> impl Fn(&Value) -> Read<u32> {
    move |value| {
        let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("is no number from {least} to {most}"))
    }
}

/// A text that is one of ours.
pub(super) fn parsed<T: FromStr<Err = Invalid>>(value: &Value) -> Read<T> {
    text(value)?.parse().map_err(|error: Invalid| error.why)
}

/// An address that a host can have.
pub(super) fn address(value: &Value) -> Read<IpAddr> {
    let address = text(value)?.parse().ok().filter(|address: &IpAddr| !address.is_unspecified());
    address.ok_or_else(|| "is no address".into())
}

/// A list of what `read` understands, nothing twice.
pub(super) fn list<T: PartialEq>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<T>> {
    move |value| {
        let mut list = Vec::new();
        for item in value.as_array().ok_or("is no list")? {
            let item = read(item).map_err(|why| format!("{item} {why}"))?;
            if list.contains(&item) {
                return Err("names one twice".into());
            }
            list.push(item);
        }
        Ok(list)
    }
}

/// Named values.
pub(super) fn named<T>(read: impl Fn(&Value) -> Read<T>) -> impl Fn(&Value) -> Read<Vec<(String, T)>> {
    move |value| {
        let table = value.as_table().ok_or("is no table")?;
        let one = |(name, value): (&String, &Value)| match read(value) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err(format!("{name:?} {why}")),
        };
        table.iter().map(one).collect()
    }
}
