use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Document;

/// One change of a spec, noted as what takes it back. Nothing in it counts on the rest of the spec being as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    /// A member that was set: what it was before.
    Set(Vec<String>, Value),
    /// A member that came to be.
    New(Vec<String>),
    /// An object or list that had to be made, and goes again once it is empty.
    Made(Vec<String>),
    /// An item that came to be in the list there.
    Put(Vec<String>, Value),
    /// An item of the list there that replaced another.
    Replaced(Vec<String>, Value, Value),
    /// An item of the list there that was taken out, and where it stood.
    Taken(Vec<String>, usize, Value),
}

/// Where in a list an item goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

impl Document {
    /// What is at `path`; a JSON null is nothing, as for every runtime.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let value = rest.iter().try_fold(self.spec.get(*first)?, |value, name| value.get(name))?;
        (!value.is_null()).then_some(value)
    }

    /// The items of the list at `path`; none where there is no list.
    pub(super) fn items(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn parent(&mut self, path: &[String]) -> Option<&mut Map<String, Value>> {
        let (_, parents) = path.split_last()?;
        parents.iter().try_fold(&mut self.spec, |object, name| object.get_mut(name)?.as_object_mut())
    }

    fn list(&mut self, path: &[String]) -> Option<&mut Vec<Value>> {
        self.parent(path)?.get_mut(path.last()?)?.as_array_mut()
    }

    /// Makes `empty` at `path`, where there is nothing.
    pub(super) fn make(&mut self, path: &[&str], empty: Value, changes: &mut Vec<Change>) {
        if self.at(path).is_some() {
            return;
        }
        if let Some((_, parents @ [_, ..])) = path.split_last() {
            self.make(parents, Value::Object(Map::new()), changes);
        }
        let path = owned(path);
        let null = self.insert(&path, empty);
        changes.push(null.map_or(Change::Made(path.clone()), |null| Change::Set(path, null)));
    }

    /// Sets the member at `path`.
    pub(super) fn set(&mut self, path: &[&str], value: Value, changes: &mut Vec<Change>) {
        if self.at(path) == Some(&value) {
            return;
        }
        if let Some((_, parents @ [_, ..])) = path.split_last() {
            self.make(parents, Value::Object(Map::new()), changes);
        }
        let path = owned(path);
        let was = self.insert(&path, value);
        changes.push(was.map_or(Change::New(path.clone()), |was| Change::Set(path, was)));
    }

    /// Adds an item to the list at `path`.
    pub(super) fn add(&mut self, path: &[&str], position: Position, item: Value, changes: &mut Vec<Change>) {
        self.make(path, Value::Array(Vec::new()), changes);
        let path = owned(path);
        if let Some(list) = self.list(&path) {
            let index = if position == Position::First { 0 } else { list.len() };
            list.insert(index, item.clone());
            changes.push(Change::Put(path, item));
        }
    }

    /// Replaces an item of the list at `path`.
    pub(super) fn replace(&mut self, path: &[&str], index: usize, item: Value, changes: &mut Vec<Change>) {
        let path = owned(path);
        let Some(place) = self.list(&path).and_then(|list| list.get_mut(index)) else { return };
        if *place != item {
            let was = std::mem::replace(place, item.clone());
            changes.push(Change::Replaced(path, item, was));
        }
    }

    /// Takes the items that `unwanted` picks out of the list at `path`.
    pub(super) fn take(&mut self, path: &[&str], unwanted: impl Fn(&Value) -> bool, changes: &mut Vec<Change>) {
        let path = owned(path);
        let Some(list) = self.list(&path) else { return };
        while let Some(index) = list.iter().position(&unwanted) {
            changes.push(Change::Taken(path.clone(), index, list.remove(index)));
        }
    }

    /// Removes the member at `path`.
    pub(super) fn remove(&mut self, path: &[&str]) {
        self.remove_owned(&owned(path));
    }

    fn remove_owned(&mut self, path: &[String]) {
        if let (Some(object), Some(name)) = (self.parent(path), path.last()) {
            // Not `remove`, which would move the last member into the gap.
            object.shift_remove(name);
        }
    }

    /// Sets the member, and returns what it was before.
    fn insert(&mut self, path: &[String], value: Value) -> Option<Value> {
        self.parent(path)?.insert(path.last()?.clone(), value)
    }

    /// Takes one change back, as far as the spec still shows it.
    pub(super) fn revert(&mut self, change: Change) {
        match change {
            Change::Set(path, was) => drop(self.insert(&path, was)),
            Change::New(path) => self.remove_owned(&path),
            Change::Made(path) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                let empty = self.at(&names).is_some_and(|value| {
                    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
                });
                if empty {
                    self.remove_owned(&path);
                }
            }
            Change::Put(path, item) => {
                if let Some(list) = self.list(&path)
                    && let Some(index) = list.iter().position(|there| *there == item)
                {
                    list.remove(index);
                }
            }
            Change::Replaced(path, item, was) => {
                if let Some(there) = self.list(&path).and_then(|list| list.iter_mut().find(|there| **there == item)) {
                    *there = was;
                }
            }
            Change::Taken(path, index, item) => {
                if let Some(list) = self.list(&path) {
                    list.insert(index.min(list.len()), item);
                }
            }
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|name| (*name).to_owned()).collect()
}
