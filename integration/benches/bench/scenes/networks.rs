//! Networks of one's own: attached to one and to several, and beside many. The peers know no others by themselves.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Results, Runner, in_turn, runners};
use crate::cost::Cost;
use crate::fixture::{Figures, Ports, run};
use crate::host::BRIDGE;
use crate::options::Options;
use crate::subjects::{Kind, define};
use crate::table::{Cell, Table, number};

/// What a container is attached to, and the title of its column.
const SETS: [(&str, &str); 4] =
    [(BRIDGE, "the default bridge"), ("n0", "one of its own"), ("n0;n1", "two"), ("n0;n1;n2", "three")];

/// One figure: an attach and a detach each.
type Column = Vec<(Cost, Cost)>;

/// The time of one of both.
type Part = fn(&(Cost, Cost)) -> Duration;

/// Plays the scene. After `until`, nothing more is begun.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let runners = runners(&[Kind::Ocinet, Kind::OcinetIptables], options)?;
    let rounds = options.effort.rounds;
    make(&runners, 0..SETS.len() - 1)?;
    stay(&runners)?;
    let sets = measure(&runners, &SETS.map(|(networks, _)| networks), rounds, until)?;
    let mut beside = Vec::new();
    let (mut there, mut spent) = (SETS.len() - 1, vec![Duration::ZERO; runners.len()]);
    for count in options.effort.networks.iter().take_while(|_| Instant::now() < until) {
        let able = |at: usize| *count <= there || spent[at] < options.effort.time_of_networks;
        let able: Vec<_> = (0..runners.len()).map(able).collect();
        for at in (0..runners.len()).filter(|at| able[*at]) {
            let start = Instant::now();
            make(&runners[at..=at], there..*count)?;
            spent[at] += start.elapsed();
        }
        there = there.max(*count);
        let measured = measure(&runners, &[BRIDGE], rounds, until)?;
        let known = |(at, mut sets): (usize, Vec<Column>)| if able[at] { sets.swap_remove(0) } else { Vec::new() };
        beside.push(measured.into_iter().enumerate().map(known).collect::<Vec<_>>());
    }
    runners.iter().try_for_each(|runner| runner.host.run(|place| place.clear()))?;
    let titles = || SETS.iter().map(|(_, title)| (*title).to_owned());
    let numbers = || options.effort.networks.iter().take(beside.len()).map(|count| number(*count as f64));
    let by_set: Vec<Vec<&Column>> =
        (0..SETS.len()).map(|set| sets.iter().map(|of_runner| &of_runner[set]).collect()).collect();
    let by_count: Vec<Vec<&Column>> = beside.iter().map(|columns| columns.iter().collect()).collect();
    let mut tables = tables("networks", titles, &runners, &by_set);
    tables.extend(self::tables("the default bridge beside so many networks", numbers, &runners, &by_count));
    Ok(Results { tables, ..Results::default() })
}

/// Makes the networks of these numbers, in the kernel as well: by a container that joins and leaves each.
fn make(runners: &[Runner], numbers: Range<usize>) -> Result<()> {
    for runner in runners {
        let numbers = numbers.clone();
        runner.host.run(move |place| {
            for number in numbers {
                let network = format!("n{number}");
                define(&network, &[])?;
                place.attach_to(&network, Ports::new(1), &run)?;
                place.detach(place.attached.len() - 1, &run)?;
            }
            place.count_links()
        })?;
    }
    Ok(())
}

/// Attaches a container to all of the sets, which stays: without one, each attach would start the name server.
fn stay(runners: &[Runner]) -> Result<()> {
    let networks = SETS.map(|(networks, _)| networks);
    let all = format!("{BRIDGE};{}", networks[networks.len() - 1]);
    for runner in runners {
        let all = all.clone();
        runner.host.run(move |place| {
            place.attach_to(&all, Ports::new(0), &run)?;
            place.count_links()
        })?;
    }
    Ok(())
}

/// For each runner, a column for each of `sets`.
fn measure(runners: &[Runner], sets: &[&'static str], rounds: usize, until: Instant) -> Result<Vec<Vec<Column>>> {
    let mut columns: Vec<Vec<Column>> = runners.iter().map(|_| vec![Vec::new(); sets.len()]).collect();
    for round in (0..=rounds).take_while(|round| *round <= 1 || Instant::now() < until) {
        for at in in_turn(round, runners.len()) {
            for set in in_turn(round, sets.len()) {
                let networks = sets[set];
                let costs = runners[at].host.run(move |place| {
                    let attach = place.attach_to(networks, Ports::new(1), &run)?;
                    let detach = place.detach(place.attached.len() - 1, &run)?;
                    place.settle()?;
                    Ok((attach, detach))
                })?;
                // The first round warms up.
                if round > 0 {
                    columns[at][set].push(costs);
                }
            }
        }
    }
    Ok(columns)
}

/// A table of attaches and one of detaches.
fn tables<T: Iterator<Item = String>>(
    what: &str,
    titles: impl Fn() -> T,
    runners: &[Runner],
    columns: &[Vec<&Column>],
) -> Vec<Table> {
    let table = |verb: &str, part: Part| {
        let mut table = Table::new(format!("{verb}, {what}, ms: median (p99)"), titles());
        for (at, runner) in runners.iter().enumerate() {
            let cell = |column: &Vec<&Column>| {
                let times = column[at].iter().map(part);
                let figures = (times.len() > 0).then(|| Figures::of(times))?;
                Some(Cell { p99: Some(figures.p99), ..Cell::new(figures.median) })
            };
            table.row(runner.kind.name(), columns.iter().map(cell).collect());
        }
        table
    };
    vec![table("attach", |costs| costs.0.wall), table("detach", |costs| costs.1.wall)]
}
