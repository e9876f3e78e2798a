//! Tables of cases.

use std::fmt::Debug;

use anyhow::{Result, bail};

/// Tries every row, whatever became of those before, and tells of every one that failed.
pub fn every<R: Debug>(rows: impl IntoIterator<Item = R>, mut case: impl FnMut(&R) -> Result<()>) -> Result<()> {
    let failures: Vec<_> =
        rows.into_iter().filter_map(|row| Some(format!("{row:.200?}: {:#}", case(&row).err()?))).collect();
    match failures.len() {
        0 => Ok(()),
        count => bail!("{count} rows failed:\n{}", failures.join("\n")),
    }
}
