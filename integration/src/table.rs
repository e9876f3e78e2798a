//! Tables of cases.

use std::fmt::Debug;

use anyhow::{Result, bail};

/// Runs `case` for every row, also after failures, and reports every row that failed.
pub fn every<R: Debug>(rows: impl IntoIterator<Item = R>, mut case: impl FnMut(&R) -> Result<()>) -> Result<()> {
    let failures: Vec<_> =
        rows.into_iter().filter_map(|row| Some(format!("{row:.200?}: {:#}", case(&row).err()?))).collect();
    match failures.len() {
        0 => Ok(()),
        count => bail!("{count} rows failed:\n{}", failures.join("\n")),
    }
}
