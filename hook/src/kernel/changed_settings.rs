//! Settings of links that are changed for containers, and put back when the host is left.

use std::fs;
use std::io;

use super::error::{Doing, Result};
use super::proc;
use crate::driver::Setting;
use crate::model::ChangedSetting;

/// Makes `changes`, in their order.
///
/// # Errors
/// When /proc cannot be written, as in a hardened unit. The error says the command.
pub fn make_changes(changes: &[ChangedSetting]) -> Result<()> {
    changes.iter().try_for_each(|change| write(&change.key, &change.to))
}

/// Puts settings back, the last one first, where they have the value that we gave them, and returns those. All are
/// tried.
///
/// # Errors
/// The first one, when /proc cannot be read or written.
pub fn put_back(changes: &[ChangedSetting]) -> Result<Vec<ChangedSetting>> {
    let (mut back, mut done) = (Vec::new(), Ok(()));
    for change in changes.iter().rev() {
        let ChangedSetting { key, from, to } = change;
        match value(key) {
            Ok(Some(now)) if now == *to => match write(key, from) {
                Ok(()) => back.push(change.clone()),
                Err(error) => done = done.and(Err(error)),
            },
            // It, or the link, is another one by now.
            Ok(_) => {}
            Err(error) => done = done.and(Err(error)),
        }
    }
    done.map(|()| back)
}

/// What gives `setting` its value where it has another one; none where it does not exist.
pub(super) fn change(setting: Setting) -> Result<Option<ChangedSetting>> {
    let from = value(&setting.key)?.filter(|value| value != setting.value);
    Ok(from.map(|from| ChangedSetting { key: setting.key, from, to: setting.value.to_owned() }))
}

/// The value of a setting; none where it does not exist.
pub(super) fn value(key: &str) -> Result<Option<String>> {
    match proc::value(&path(key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some).doing(|| format!("read {}", path(key))),
    }
}

fn write(key: &str, value: &str) -> Result<()> {
    match fs::write(path(key), value) {
        // Its link has just gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.doing(|| format!("sysctl -w {key}={value}")),
    }
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}
