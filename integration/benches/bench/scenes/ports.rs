//! Attach and detach, by the number of published ports.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Results, Runner, expected, in_turn, runners};
use crate::chart::Group;
use crate::cost::{Cost, Counter, Counts};
use crate::fixture::{Figures, Ports, run};
use crate::options::Options;
use crate::subjects::{Kind, OCINET};
use crate::table::{Cell, Table};

/// What is counted, and said to be the cost of a container, is with so many ports.
const USUAL: usize = 1;

/// From so many ports on, the ports are what takes the time.
const MANY: usize = 100;

/// A column's costs for one subject: an attach and a detach each.
#[derive(Default)]
struct Column(Vec<(Cost, Cost)>);

impl Column {
    fn attach(&self, part: fn(&Cost) -> Duration) -> Option<Figures> {
        (!self.0.is_empty()).then(|| Figures::of(self.0.iter().map(|round| part(&round.0))))
    }

    fn detach(&self, part: fn(&Cost) -> Duration) -> Option<Figures> {
        (!self.0.is_empty()).then(|| Figures::of(self.0.iter().map(|round| part(&round.1))))
    }

    /// The time of one round.
    fn round(&self) -> Option<Duration> {
        let of = |figures: Option<Figures>| figures.map(|figures| Duration::from_secs_f64(figures.median / 1000.0));
        Some(of(self.attach(wall))? + of(self.detach(wall))?)
    }
}

fn wall(cost: &Cost) -> Duration {
    cost.wall
}

fn cpu(cost: &Cost) -> Duration {
    cost.cpu
}

fn background(cost: &Cost) -> Duration {
    cost.background
}

/// Plays the scene. After `until`, every column but the usual one has to do with what there is.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let runners = runners(&Kind::ALL, options)?;
    let mut columns: Vec<Vec<Column>> = Vec::new();
    for (at, count) in options.effort.ports.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| (options.effort.ports[at], &columns[at][..]));
        columns.push(column(&runners, *count, before, (options, until))?);
    }
    let counts: Vec<_> = runners.iter().map(counted).collect::<Result<_>>()?;
    Ok(results(&runners, &columns, &counts, options))
}

/// Measures with `count` ports, in rounds. Does not begin what, by the column before, takes far too long.
fn column(
    runners: &[Runner],
    count: usize,
    before: Option<(usize, &[Column])>,
    (options, until): (&Options, Instant),
) -> Result<Vec<Column>> {
    let budget = options.effort.time_of_ports;
    let mut columns: Vec<_> = runners.iter().map(|_| Column::default()).collect();
    let mut spent: Vec<_> = (0..runners.len())
        .map(|at| match before.map(|(count, columns)| (count, columns[at].round())) {
            Some((small, Some(time))) if small >= MANY && expected(time, small, count) > budget * 4 => Duration::MAX,
            Some((_, None)) => Duration::MAX,
            _ => Duration::ZERO,
        })
        .collect();
    for round in 0..=options.effort.rounds {
        for at in in_turn(round, runners.len()) {
            let is_over = Instant::now() > until && (round > 1 || count != USUAL);
            if spent[at] >= budget || is_over {
                continue;
            }
            let start = Instant::now();
            let costs = runners[at].host.run(move |place| {
                let attach = place.attach(Ports::new(count), &run)?;
                let detach = place.detach(0, &run)?;
                place.settle()?;
                Ok((attach, detach))
            })?;
            spent[at] += start.elapsed();
            // The first round warms up, unless it is the only one.
            if round > 0 || spent[at] >= budget {
                columns[at].0.push(costs);
            }
        }
    }
    Ok(columns)
}

/// Counts one attach and one detach.
fn counted(runner: &Runner) -> Result<(Counts, Counts)> {
    runner.host.run(|place| {
        let (attach, detach) = (Counter::new()?, Counter::new()?);
        place.attach(Ports::new(USUAL), &|command, input| attach.run(command, input))?;
        place.detach(0, &|command, input| detach.run(command, input))?;
        place.settle()?;
        Ok((attach.counts()?, detach.counts()?))
    })
}

fn results(runners: &[Runner], columns: &[Vec<Column>], counts: &[(Counts, Counts)], options: &Options) -> Results {
    let ports = options.effort.ports;
    let titles = || {
        ports.iter().map(|count| format!("{} ports", crate::table::number(*count as f64)).replace("1 ports", "1 port"))
    };
    let mut results = Results::default();
    for (verb, figures) in [("attach", Column::attach as fn(&Column, _) -> _), ("detach", Column::detach)] {
        let mut table = Table::new(format!("{verb}, ms: median (p99), times ocinet's"), titles());
        for (at, runner) in runners.iter().enumerate() {
            let cells = columns.iter().map(|column| {
                let figures = figures(&column[at], wall as fn(&Cost) -> Duration)?;
                Some(Cell { p99: Some(figures.p99), ..Cell::new(figures.median) })
            });
            table.row(runner.kind.name(), cells.collect());
        }
        results.tables.push(table.relate(OCINET));
    }
    results.tables.push(cpu_of(runners, columns, titles()));
    results.tables.push(costs(runners, counts));
    results.tables.push(rounds(runners, columns, titles()));
    if let Some(at) = ports.iter().position(|count| *count == USUAL) {
        results.chart = chart(runners, &columns[at]);
    }
    results
}

/// The processor's time of both.
fn cpu_of(runners: &[Runner], columns: &[Vec<Column>], titles: impl Iterator<Item = String>) -> Table {
    let titles: Vec<_> = titles.collect();
    let titles =
        ["attach", "detach"].into_iter().flat_map(|verb| titles.iter().map(move |title| format!("{verb}, {title}")));
    let mut table = Table::new("processor time of the same, ms: median, times ocinet's", titles);
    let cell = |figures: Option<Figures>| figures.map(|figures| Cell::new(figures.median));
    let cells = |at: usize, part: fn(&Cost) -> Duration| -> Vec<Option<Cell>> {
        let attach = columns.iter().map(|column| cell(column[at].attach(part)));
        attach.chain(columns.iter().map(|column| cell(column[at].detach(part)))).collect()
    };
    for (at, runner) in runners.iter().enumerate() {
        table.row(runner.kind.name(), cells(at, cpu));
    }
    let mut table = table.relate(OCINET);
    for (at, runner) in runners.iter().enumerate() {
        let after = cells(at, background);
        if after.iter().flatten().any(|cell| cell.value > 0.0) {
            table.row(format!("of that in the background: {}", runner.kind.name()), after);
        }
    }
    table
}

/// What is asked of the kernel.
fn costs(runners: &[Runner], counts: &[(Counts, Counts)]) -> Table {
    let titles = ["programs", "system calls", "memory, MiB"];
    let titles = ["attach", "detach"].into_iter().flat_map(|verb| titles.map(|title| format!("{verb}: {title}")));
    let mut table =
        Table::new("what one port takes: programs that are started, all system calls, peak of one process", titles);
    for (runner, (attach, detach)) in runners.iter().zip(counts) {
        let cells = [attach, detach].into_iter().flat_map(|counts| {
            [counts.processes as f64, counts.calls as f64, counts.peak as f64 / 1024.0]
                .map(|value| Some(Cell::new(value)))
        });
        table.row(runner.kind.name(), cells.collect());
    }
    table
}

/// How many rounds the figures are of.
fn rounds(runners: &[Runner], columns: &[Vec<Column>], titles: impl Iterator<Item = String>) -> Table {
    let mut table = Table::new("rounds that fit into the time of a subject", titles);
    for (at, runner) in runners.iter().enumerate() {
        let cells = columns.iter().map(|column| Some(Cell::new(column[at].0.len() as f64)));
        table.row(runner.kind.name(), cells.collect());
    }
    table
}

fn chart(runners: &[Runner], columns: &[Column]) -> Vec<Group> {
    let group = |title: &str, figure: &dyn Fn(&Column) -> Option<Figures>| {
        let bars = runners.iter().zip(columns);
        let bars = bars.filter_map(|(runner, column)| Some((runner.kind.name().to_owned(), figure(column)?.median)));
        Group { title: title.to_owned(), bars: bars.collect() }
    };
    vec![
        group("attach, 1 published port", &|column| column.attach(wall)),
        group("detach, 1 published port", &|column| column.detach(wall)),
        group("attach, processor time", &|column| column.attach(cpu)),
        group("detach, processor time", &|column| column.detach(cpu)),
    ]
}
