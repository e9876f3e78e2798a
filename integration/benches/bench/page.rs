//! The figures in the pages.

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- integration/bench --write begins here -->";
const END: &str = "<!-- integration/bench --write ends here -->";

/// How README's row of these figures begins.
const ROW: &str = "| to attach a container with one published port, and to detach it |";

/// The page with `figures` between its two marks.
pub fn with_figures(page: &str, figures: &str) -> Result<String> {
    let (before, rest) = page.split_once(BEGIN).with_context(|| format!("the page has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the page has no line {END}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

/// README with its row of these figures.
pub fn with_row(readme: &str, figures: &str) -> Result<String> {
    let old = readme.lines().find(|line| line.starts_with(ROW)).with_context(|| format!("README has no row {ROW}"))?;
    Ok(readme.replacen(old, &format!("{ROW} {figures} |"), 1))
}

/// README's row of these figures, without its first cell.
#[allow(dead_code, reason = "for the test of the pages")]
pub fn row(readme: &str) -> Option<&str> {
    readme.lines().find_map(|line| line.strip_prefix(ROW)).map(|rest| rest.trim_end_matches('|').trim())
}
