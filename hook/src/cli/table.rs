use std::fmt::Write;

use ocinet::model::shown;

use super::screen::Screen;

/// Columns of text, as wide as their widest cell where there is room.
pub(super) struct Table<const N: usize> {
    /// The first is the head.
    rows: Vec<[String; N]>,
    /// The column whose cells are judged, and the cell that is good.
    verdict: Option<(usize, &'static str)>,
}

const GAP: &str = "   ";
/// No column gets narrower than this.
const NARROWEST: usize = 4;
const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";

impl<const N: usize> Table<N> {
    /// A table with this head and no rows.
    pub(super) fn new(head: [&str; N]) -> Self {
        Self { rows: vec![head.map(String::from)], verdict: None }
    }

    /// Shows cells of `column` in green if they equal `good`, else in yellow.
    pub(super) fn judge(mut self, column: usize, good: &'static str) -> Self {
        self.verdict = Some((column, good));
        self
    }

    /// Adds a row. Control characters in it are replaced.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| shown(&cell)));
    }

    /// The table as text, its widest cells shortened until it fits `screen`.
    pub(super) fn render(&self, screen: Screen) -> String {
        let mut widths: [usize; N] =
            std::array::from_fn(|column| self.rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
        if let Some(columns) = screen.columns {
            shrink(&mut widths, columns.saturating_sub(GAP.len() * N.saturating_sub(1)));
        }
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
            for (column, cell) in row.iter().enumerate().take(last + 1) {
                let shown = shortened(cell, widths[column]);
                let pad = if column == last { 0 } else { widths[column] - width(&shown) + GAP.len() };
                let _ = match self.colour(index, column, cell).filter(|_| screen.colour && !cell.is_empty()) {
                    Some(code) => write!(text, "\x1b[{code}m{shown}\x1b[0m{:pad$}", ""),
                    None => write!(text, "{shown}{:pad$}", ""),
                };
            }
            text.push('\n');
        }
        text
    }

    fn colour(&self, row: usize, column: usize, cell: &str) -> Option<&'static str> {
        match self.verdict {
            _ if row == 0 => Some(BOLD),
            Some((judged, good)) if judged == column => Some(if cell == good { GREEN } else { YELLOW }),
            _ => None,
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Shortens the widest column until all fit `room`.
fn shrink(widths: &mut [usize], room: usize) {
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => return,
        }
    }
}

fn shortened(cell: &str, room: usize) -> String {
    if width(cell) <= room {
        return cell.to_owned();
    }
    cell.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<3> {
        let mut table = Table::new(["CONTAINER", "PORTS", "STATE"]).judge(2, "attached");
        table.row(["web".into(), "0.0.0.0:8080->80/tcp, 0.0.0.0:8443->443/tcp".into(), "attached".into()]);
        table.row(["db".into(), String::new(), "detaching".into()]);
        table
    }

    #[test]
    fn a_pipe_gets_all_of_it_without_colour() {
        let text = table().render(Screen::default());
        let ports = "0.0.0.0:8080->80/tcp, 0.0.0.0:8443->443/tcp";
        assert_eq!(text.lines().nth(1).unwrap(), format!("web         {ports}   attached"));
        assert!(!text.contains('\x1b') && text.lines().all(|line| line.trim_end() == line));
    }

    #[test]
    fn the_widest_cell_gives_way_on_a_narrow_terminal() {
        for columns in [20, 40, 60, 66, 67, 68, 200] {
            let text = table().render(Screen { columns: Some(columns), colour: false });
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
            assert_eq!(text.contains('…'), columns < 67, "{columns}:\n{text}");
        }
        // Narrower than the narrowest columns: lines wrap, and it does not panic.
        assert_eq!(table().render(Screen { columns: Some(1), colour: false }).lines().count(), 3);
    }

    #[test]
    fn colours_do_not_move_columns() {
        let coloured = table().render(Screen { columns: None, colour: true });
        assert!(coloured.contains("\x1b[32mattached\x1b[0m") && coloured.contains("\x1b[33mdetaching\x1b[0m"));
        let mut plain = coloured;
        for code in ["1", "32", "33", "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(plain, table().render(Screen::default()));
    }
}
