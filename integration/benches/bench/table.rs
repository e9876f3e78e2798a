//! Tables of figures, as text for people.

use std::fmt::Write;

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub value: f64,
    /// What one of a hundred exceeds.
    pub p99: Option<f64>,
    /// How many times the figure of the subject that the others are compared with.
    pub ratio: Option<f64>,
    /// How many calls failed.
    pub errors: usize,
}

impl Cell {
    /// A figure alone.
    pub fn new(value: f64) -> Self {
        Self { value, p99: None, ratio: None, errors: 0 }
    }

    fn text(&self) -> String {
        let mut text = number(self.value);
        if let Some(p99) = self.p99 {
            let _ = write!(text, " ({})", number(p99));
        }
        if let Some(ratio) = self.ratio {
            let _ = write!(text, ", {}x", significant(ratio));
        }
        if self.errors > 0 {
            let _ = write!(text, ", {} failed", self.errors);
        }
        text
    }
}

/// Figures of subjects.
#[derive(Clone, Debug)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    /// A subject's name and its figures. `None` was not measured.
    pub rows: Vec<(String, Vec<Option<Cell>>)>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: impl IntoIterator<Item = String>) -> Self {
        Self { title: title.into(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row. One without any figure is left out.
    pub fn row(&mut self, name: impl Into<String>, cells: Vec<Option<Cell>>) {
        if cells.iter().any(Option::is_some) {
            self.rows.push((name.into(), cells));
        }
    }

    /// Compares every row with the row `name`.
    pub fn relate(mut self, name: &str) -> Self {
        let Some(first) = self.rows.iter().find(|row| row.0 == name).map(|row| row.1.clone()) else { return self };
        for (_, cells) in self.rows.iter_mut().filter(|row| row.0 != name) {
            for (cell, first) in cells.iter_mut().zip(&first) {
                if let (Some(cell), Some(first)) = (cell, first) {
                    cell.ratio = Some(cell.value / first.value).filter(|ratio| ratio.is_finite());
                }
            }
        }
        self
    }

    /// A subject's figure.
    pub fn cell(&self, name: &str, column: &str) -> Option<Cell> {
        let at = self.columns.iter().position(|title| title == column)?;
        *self.rows.iter().find(|row| row.0 == name)?.1.get(at)?
    }

    /// In Markdown, under its title.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let mut text = format!("**{}**\n\n", self.title);
        text += &line(&mut [String::new()].into_iter().chain(self.columns.iter().cloned()));
        text += &format!("|---|{}\n", "---:|".repeat(self.columns.len()));
        for (name, cells) in &self.rows {
            let cells = cells.iter().map(|cell| cell.map_or_else(|| "-".to_owned(), |cell| cell.text()));
            text += &line(&mut [name.clone()].into_iter().chain(cells));
        }
        text
    }
}

/// A number with as many digits as matter: 0.62, 4.71, 71.3, 1,830.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => grouped(value),
        ..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

/// A ratio: 0.98, 1.3, 15, 2,189.
pub fn significant(value: f64) -> String {
    match value.abs() {
        ..1.095 => format!("{value:.2}"),
        ..9.95 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digit.is_ascii_digit() && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
