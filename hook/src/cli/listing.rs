//! `--format` of commands that list: lines by a template, a table by one, or lines of JSON.

use serde_json::Value;

use ocinet::engine::Result;
use ocinet::model::{shown, shown_json};

use super::print;
use super::template::Template;

/// Prints each of `rows` as `format` says; `head` is what stands above a field in a table.
pub(super) fn formatted(format: &str, rows: impl Iterator<Item = Value>, head: fn(&str) -> String) -> Result<()> {
    if format == "json" {
        return print(&rows.map(|row| format!("{}\n", shown_json(&row.to_string()))).collect::<String>());
    }
    let (template, is_table) = match format.strip_prefix("table ") {
        Some(rest) => (rest, true),
        None => (format, false),
    };
    let template = Template::parse(template)?;
    let heads = template.fields().iter().map(|field| head(field)).collect::<Vec<_>>().join("\t");
    let mut lines = rows.map(|row| Ok(template.render(&row)?)).collect::<Result<Vec<_>>>()?;
    if !is_table {
        return print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
    lines.insert(0, heads);
    print(&aligned(&lines))
}

/// Lines whose parts between tabs are as wide as the widest of their column.
fn aligned(lines: &[String]) -> String {
    let rows: Vec<Vec<String>> = lines.iter().map(|line| line.split('\t').map(shown).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let row = |cells: &Vec<String>| {
        let padded: String = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        format!("{}\n", padded.trim_end())
    };
    rows.iter().map(row).collect()
}
