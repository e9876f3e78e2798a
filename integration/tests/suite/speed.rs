//! The tables and the chart of `integration/bench`, and the figures in the pages.

#[path = "../../benches/bench/chart.rs"]
mod chart;
#[path = "../../benches/fixture/figures.rs"]
mod figures;
#[path = "../../benches/bench/page.rs"]
mod page;
#[path = "../../benches/bench/table.rs"]
mod table;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use chart::Group;
use figures::Figures;
use table::{Cell, Table, number, significant};

#[test]
fn the_median_and_the_p99_are_of_sorted_times() {
    let times = |count: u64| (1..=count).rev().map(Duration::from_millis);
    assert_eq!(Figures::of(times(1)), Figures { median: 1.0, p99: 1.0 });
    assert_eq!(Figures::of(times(10)), Figures { median: 6.0, p99: 10.0 });
    assert_eq!(Figures::of(times(200)), Figures { median: 101.0, p99: 199.0 });
}

#[test]
fn numbers_have_the_digits_that_matter() {
    for (value, text) in
        [(0.0, "0"), (3.0, "3"), (0.623, "0.62"), (71.26, "71.3"), (1830.4, "1,830"), (1e6, "1,000,000")]
    {
        assert_eq!(number(value), text);
    }
    for (value, text) in [(0.981, "0.98"), (1.0, "1.00"), (1.31, "1.3"), (15.2, "15"), (2189.0, "2,189")] {
        assert_eq!(significant(value), text);
    }
}

#[test]
fn a_table_compares_with_one_row() {
    let cell = |value, p99| Some(Cell { p99: Some(p99), ..Cell::new(value) });
    let mut table = Table::new("attach, ms", ["0 ports", "1 port"].map(str::to_owned));
    table.row("ocinet", vec![cell(4.0, 5.0), cell(4.25, 6.5)]);
    table.row("slow", vec![cell(60.5, 80.25), None]);
    table.row("absent", vec![None, None]);
    let table = table.relate("ocinet");
    assert_eq!(
        table.markdown(),
        "**attach, ms**\n\n|  | 0 ports | 1 port |\n|---|---:|---:|\n\
         | ocinet | 4 (5) | 4.25 (6.50) |\n| slow | 60.5 (80.2), 15x | - |\n"
    );
    assert_eq!(table.cell("slow", "0 ports").and_then(|cell| cell.ratio), Some(60.5 / 4.0));
}

#[test]
fn a_chart_has_a_bar_for_each_figure() -> Result<()> {
    let bars = [("ocinet <1>", 4.0), ("slow", 400.0), ("none", 0.0)];
    let bars = bars.map(|(name, value)| (name.to_owned(), value)).into();
    let svg = chart::svg(&[Group { title: "attach & detach".into(), bars }], "ms", "ocinet", "2026");
    let lengths = svg.lines().filter(|line| line.starts_with("<rect")).map(|line| {
        let (_, rest) = line.split_once("width=\"").context("a width")?;
        Ok(rest.split('"').next().context("its end")?.parse::<f64>()?)
    });
    let lengths: Vec<f64> = lengths.collect::<Result<_>>()?;
    ensure!(lengths.len() == 3, "{svg}");
    // From 1 to 1,000 on a logarithmic scale.
    ensure!((lengths[1] - lengths[0] - 2.0 / 3.0 * 500.0).abs() < 0.2 && lengths[2] == 0.0, "{lengths:?}");
    ensure!(svg.contains("ocinet &lt;1&gt;") && svg.contains("attach &amp; detach"), "{svg}");
    ensure!(svg.contains("prefers-color-scheme: dark") && svg.matches("class=\"ours\"").count() == 1, "{svg}");
    Ok(())
}

#[test]
fn figures_are_written_between_their_marks() -> Result<()> {
    let page = page::with_figures(&read("packaging/doc/figures.md")?, "new")?;
    ensure!(page::with_figures(&page, "new")? == page && page.contains("\n\nnew\n\n"), "{page}");
    ensure!(page::with_figures("without", "new").is_err(), "without marks");
    let readme = page::with_row(&read("README.md")?, "new")?;
    ensure!(page::row(&readme) == Some("new"), "{readme}");
    Ok(())
}

/// README's figures are those of the page.
#[test]
fn the_readme_says_what_the_page_says() -> Result<()> {
    let page = read("packaging/doc/figures.md")?;
    let of = |verb: &str| {
        let table = page.split("**").skip_while(|title| !title.starts_with(&format!("{verb}, ms"))).nth(1);
        let row = table.context("no table")?.lines().find(|line| line.starts_with("| ocinet |")).context("no row")?;
        let cell = row.split('|').nth(3).context("no column of 1 port")?;
        Ok::<_, anyhow::Error>(cell.split_whitespace().next().context("an empty cell")?.to_owned())
    };
    let readme = read("README.md")?;
    let row = page::row(&readme).context("no row")?;
    let expected = format!("{} ms and {} ms; ", of("attach")?, of("detach")?);
    ensure!(row.starts_with(&expected), "README has {row:?}, and the page {expected:?}");
    Ok(())
}

fn read(file: &str) -> Result<String> {
    Ok(fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file))?)
}
