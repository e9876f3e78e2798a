//! Attach by the number of containers that are on the bridge already.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Results, in_turn, runners};
use crate::cost::Cost;
use crate::fixture::{Figures, Ports, run};
use crate::options::Options;
use crate::subjects::{Kind, OCINET};
use crate::table::{Cell, Table, number};

/// A figure is the median of so many attaches up to a position.
const WINDOW: usize = 10;

/// Plays the scene: a thousand containers on one bridge, each with a published port.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let effort = &options.effort;
    let runners = runners(&Kind::MANY, options)?;
    let last = effort.positions.iter().copied().max().unwrap_or_default();
    let mut costs: Vec<Vec<Cost>> = runners.iter().map(|_| Vec::new()).collect();
    let mut spent = vec![Duration::ZERO; runners.len()];
    for number in (0..last).take_while(|_| Instant::now() < until) {
        for at in in_turn(number, runners.len()).filter(|at| spent[*at] < effort.time_of_position).collect::<Vec<_>>() {
            let start = Instant::now();
            let ports = Ports { first: 20_000 + 2 * number, count: 1 };
            costs[at].push(runners[at].host.run(move |place| place.attach(ports, &run))?);
            spent[at] += start.elapsed();
        }
    }
    let mut detaches: Vec<Vec<Cost>> = runners.iter().map(|_| Vec::new()).collect();
    for round in 0..WINDOW {
        for at in in_turn(round, runners.len()).filter(|at| costs[*at].len() == last) {
            detaches[at].push(runners[at].host.run(|place| {
                let detached = place.detach(place.attached.len() - 1, &run)?;
                place.settle()?;
                Ok(detached)
            })?);
        }
    }
    let title = |position: &usize| match position {
        1 => "the first".to_owned(),
        position => format!("to {}", number(*position as f64)),
    };
    let titles =
        effort.positions.iter().map(title).chain([format!("detach beside {}", number((last - WINDOW) as f64))]);
    let mut table = Table::new("the n-th container on one bridge, attach, ms: median of ten, times ocinet's", titles);
    for (at, runner) in runners.iter().enumerate() {
        let figure = |costs: &[Cost]| {
            (!costs.is_empty()).then(|| Cell::new(Figures::of(costs.iter().map(|cost| cost.wall)).median))
        };
        let window = |position: &usize| costs[at].get(position.saturating_sub(WINDOW)..*position).and_then(figure);
        table.row(runner.kind.name(), effort.positions.iter().map(window).chain([figure(&detaches[at])]).collect());
    }
    for runner in &runners {
        runner.host.run(|place| place.clear())?;
    }
    Ok(Results { tables: vec![table.relate(OCINET)], ..Results::default() })
}
