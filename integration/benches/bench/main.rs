//! The speed of ocinet beside its peers. `integration/bench` runs it.
//!
//! Each subject has a private host of its own and does the same there: a bridge, an address, a default route,
//! masquerading and published ports, for a namespace that the benchmark made. All are measured in turns, with their
//! files warmed alike, as whole processes that are started with pipes as a runtime starts them. Machines are noisy:
//! compare within one run, by the ratios.

mod chart;
mod cost;
#[path = "../fixture/mod.rs"]
mod fixture;
mod host;
mod machine;
mod options;
mod page;
mod scenes;
mod subjects;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_child_subreaper;

use options::Options;
use scenes::Results;
use subjects::{CNI, NETAVARK, OCINET};
use table::{Table, number, significant};

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let programs = subjects::programs(&options)?;
    for program in &programs {
        ensure!(program.exists(), "{}: no such program\n{}", program.display(), options::USAGE);
    }
    set_child_subreaper(true)?;
    warm(&programs)?;
    let machine = machine::described(&options);
    eprintln!("{machine}");
    let mut results = Results::default();
    let mut until = Instant::now();
    for scene in &options.scenes {
        let start = Instant::now();
        let share = options::SCENES.iter().find(|(name, _)| name == scene).map_or(0, |(_, share)| *share);
        until += options.effort.whole * share / 100;
        let played = match scene.as_str() {
            "ports" => scenes::ports::play(&options, until),
            "position" => scenes::position::play(&options, until),
            "crowd" => scenes::crowd::play(&options, until),
            "networks" => scenes::networks::play(&options, until),
            "names" => scenes::names::play(&options, until),
            _ => scenes::datapath::play(&options, until),
        };
        let Results { tables, chart } = played.with_context(|| format!("scene {scene}"))?;
        eprintln!("{scene}: {} s", start.elapsed().as_secs());
        results.tables.extend(tables);
        results.chart.extend(chart);
    }
    let text = text(&machine, &options, &results.tables);
    println!("{text}");
    if options.write { write(&text, &machine, &options, &results) } else { Ok(()) }
}

/// Brings all programs and their libraries into the page cache in the same way: as they lie there by chance, they
/// differ by 0.4 ms.
fn warm(programs: &[PathBuf]) -> Result<()> {
    let ocinet = ocinet_integration::ocinet()?;
    let start = |file: &Path| {
        let mut command = Command::new(&ocinet);
        let command = command.args(["warm", "--"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().with_context(|| format!("warm {}", file.display()))
    };
    // First itself, since no process may run from a file that is warmed.
    start(&ocinet)?.wait()?;
    let libraries = programs.iter().flat_map(|program| libraries(program).unwrap_or_default());
    let files: BTreeSet<PathBuf> =
        programs.iter().cloned().chain(libraries).filter_map(|file| file.canonicalize().ok()).collect();
    let started: Vec<_> =
        files.iter().filter(|file| **file != ocinet).map(|file| start(file)).collect::<Result<_>>()?;
    // A library from which processes run stays in its pages: it is as it is for all.
    started.into_iter().try_for_each(|mut child| child.wait().map(drop)).context("warm")
}

/// The libraries of a program, by the words of `ldd` that are paths.
fn libraries(program: &Path) -> Option<Vec<PathBuf>> {
    let said = Command::new("ldd").arg(program).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    Some(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// All tables, with what one has to know to read them.
fn text(machine: &str, options: &Options, tables: &[Table]) -> String {
    let tables: Vec<_> = tables.iter().map(Table::markdown).collect();
    format!("Measured {} on {machine}.\n\n{}", options.effort.name, tables.join("\n"))
}

/// Writes the tables and the chart into the pages.
fn write(text: &str, machine: &str, options: &Options, results: &Results) -> Result<()> {
    ensure!(options.scenes.len() == options::SCENES.len(), "--write needs all scenes");
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    change(&top.join("packaging/doc/figures.md"), |page| page::with_figures(page, text))?;
    change(&top.join("README.md"), |readme| page::with_row(readme, &headline(&results.tables)?))?;
    let chart = top.join("packaging/doc/figures.svg");
    fs::write(&chart, chart::svg(&results.chart, "ms", OCINET, machine)).with_context(|| chart.display().to_string())
}

fn change(path: &Path, new: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let old = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    fs::write(path, new(&old)?).with_context(|| path.display().to_string())
}

/// README's words for the figures of one published port.
fn headline(tables: &[Table]) -> Result<String> {
    let [attach, detach] = tables.first_chunk().context("no figures of attach and detach")?;
    let cells = |name: &str| {
        let cell = |table: &Table| table.cell(name, "1 port").with_context(|| format!("no figure of {name}"));
        Ok::<_, anyhow::Error>((cell(attach)?, cell(detach)?))
    };
    let ours = cells(OCINET)?;
    let times = |name: &str| {
        let theirs = cells(name)?;
        let ratio = |cell: table::Cell| significant(cell.ratio.unwrap_or(f64::NAN));
        Ok::<_, anyhow::Error>(format!("{} and {} times as long", ratio(theirs.0), ratio(theirs.1)))
    };
    Ok(format!(
        "{} ms and {} ms; netavark takes {}, the CNI plugins {}",
        number(ours.0.value),
        number(ours.1.value),
        times(NETAVARK)?,
        times(CNI)?.trim_end_matches(" as long")
    ))
}
