//! Many containers attached at once, and detached at once.

use std::process::{Command, Stdio};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::{Results, Runner, in_turn, runners};
use crate::cost::cost;
use crate::fixture::{Figures, Ports, run};
use crate::host::{Container, Place};
use crate::options::Options;
use crate::subjects::{Kind, OCINET, Run};
use crate::table::{Cell, Table, number};

/// The calls of one crowd.
#[derive(Clone, Default)]
struct Calls {
    times: Vec<Duration>,
    /// What the calls that failed said.
    errors: Vec<String>,
    /// The processor's time of all.
    cpu: Duration,
}

impl Calls {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.errors.extend(other.errors);
        self.cpu += other.cpu;
    }

    fn cell(&self) -> Option<Cell> {
        (!self.times.is_empty()).then(|| {
            let figures = Figures::of(self.times.iter().copied());
            Cell { p99: Some(figures.p99), errors: self.errors.len(), ..Cell::new(figures.median) }
        })
    }

    fn cpu(&self) -> Option<Cell> {
        let count = u32::try_from(self.times.len()).ok().filter(|count| *count > 0)?;
        Some(Cell::new((self.cpu / count).as_secs_f64() * 1000.0))
    }
}

/// The crowds of one size of one subject.
type Both = (Calls, Calls);

/// Plays the scene. After `until`, no crowd begins.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let effort = &options.effort;
    let runners = runners(&Kind::MANY, options)?;
    let mut sizes: Vec<Vec<Both>> = Vec::new();
    let mut alone = vec![Duration::ZERO; runners.len()];
    for size in effort.crowds {
        let mut results: Vec<Both> = runners.iter().map(|_| Both::default()).collect();
        let mut spent = vec![Duration::ZERO; runners.len()];
        for round in 0..(effort.calls / size).clamp(1, 20) {
            for at in in_turn(round, runners.len()) {
                let long = alone[at] * u32::try_from(*size)?;
                if Instant::now() > until || spent[at] >= effort.time_of_crowd || long > effort.time_of_crowd * 2 {
                    continue;
                }
                let start = Instant::now();
                let (attach, detach) = at_once(&runners[at], *size)?;
                spent[at] += start.elapsed();
                results[at].0.add(attach);
                results[at].1.add(detach);
            }
        }
        if *size == 1 {
            let time = |calls: &Calls| Duration::from_secs_f64(calls.cell().map_or(0.0, |cell| cell.value) / 1000.0);
            alone = results.iter().map(|(attach, detach)| time(attach) + time(detach)).collect();
        }
        sizes.push(results);
    }
    complaints(&runners, &sizes);
    let mut tables = tables(&runners, &sizes, effort.crowds);
    tables.extend(steps(&runners, effort.crowds, until)?);
    Ok(Results { tables, ..Results::default() })
}

/// One crowd: attached, ended, detached.
fn at_once(runner: &Runner, size: usize) -> Result<Both> {
    runner.host.run(move |place| {
        let containers = crowd(place, size)?;
        let both = attach_and_detach(place, containers, &run)?;
        place.settle()?;
        Ok(both)
    })
}

/// Containers with a published port each.
fn crowd(place: &mut Place, size: usize) -> Result<Vec<Container>> {
    (0..size).map(|number| place.container(Ports { first: 20_000 + 2 * number, count: 1 })).collect()
}

fn attach_and_detach(place: &Place, containers: Vec<Container>, run: Run<'_>) -> Result<Both> {
    let subject = &place.subject;
    let (attach, attached) = together(containers, |container| subject.attach(container, run))?;
    let mut attached: Vec<(Container, Value)> = attached;
    if subject.namespace_ends_first() {
        attached.iter_mut().try_for_each(|(container, _)| container.sandbox.kill())?;
        thread::sleep(Duration::from_millis(5));
    }
    let (detach, _) = together(attached, |(container, said)| subject.detach(container, said, run))?;
    Ok((attach, detach))
}

/// Makes a call for each of `all`, in a thread each, at the same moment. Returns those whose call succeeded with what
/// it returned: a container that failed is not detached.
fn together<C: Sync + Send, T: Send>(
    all: Vec<C>,
    call: impl Fn(&C) -> Result<T> + Sync,
) -> Result<(Calls, Vec<(C, T)>)> {
    let barrier = Barrier::new(all.len());
    let one = |member: &C| {
        barrier.wait();
        let start = Instant::now();
        let result = call(member);
        (start.elapsed(), result)
    };
    let mut results = Vec::new();
    let took = cost(|| {
        results = thread::scope(|scope| {
            let threads: Vec<_> = all.iter().map(|member| scope.spawn(|| one(member))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("a panic in a crowd")))
                .collect::<Result<_>>()
        })?;
        Ok(())
    })?;
    ensure!(results.len() == all.len(), "not every call was made");
    let mut calls = Calls { cpu: took.cpu, ..Calls::default() };
    let mut good = Vec::new();
    for (member, (time, result)) in all.into_iter().zip(results) {
        calls.times.push(time);
        match result {
            Ok(said) => good.push((member, said)),
            Err(error) => calls.errors.push(format!("{error:#}")),
        }
    }
    Ok((calls, good))
}

fn complaints(runners: &[Runner], sizes: &[Vec<Both>]) {
    for (at, runner) in runners.iter().enumerate() {
        let errors = sizes.iter().flat_map(|size| size[at].0.errors.iter().chain(&size[at].1.errors));
        for error in errors.take(3) {
            eprintln!("{}: {error:.400}", runner.kind.name());
        }
    }
}

fn tables(runners: &[Runner], sizes: &[Vec<Both>], crowds: &[usize]) -> Vec<Table> {
    let titles = || crowds.iter().map(|size| format!("{} at once", number(*size as f64)));
    let table = |title: &str, cell: &dyn Fn(&Both) -> Option<Cell>| {
        let mut table = Table::new(title, titles());
        for (at, runner) in runners.iter().enumerate() {
            table.row(runner.kind.name(), sizes.iter().map(|size| cell(&size[at])).collect());
        }
        table.relate(OCINET)
    };
    vec![
        table("attach at once, ms: median (p99), times ocinet's", &|both| both.0.cell()),
        table("detach at once, ms: median (p99), times ocinet's", &|both| both.1.cell()),
        table("processor time of one attach of these, ms: mean, times ocinet's", &|both| both.0.cpu()),
    ]
}

/// The steps of ocinet's attaches, as it tells them itself: what it waits for in a crowd. In a round of its own.
fn steps(runners: &[Runner], crowds: &[usize], until: Instant) -> Result<Option<Table>> {
    let Some(runner) = runners.iter().find(|runner| runner.kind == Kind::Ocinet) else { return Ok(None) };
    let mut sizes = Vec::new();
    for size in crowds.iter().copied().filter(|size| *size > 1).take_while(|_| Instant::now() < until) {
        sizes.push((size, runner.host.run(move |place| told(place, size))?));
    }
    if sizes.is_empty() {
        return Ok(None);
    }
    let columns = sizes.iter().flat_map(|(size, _)| {
        ["median", "p99", "longest"].map(|figure| format!("{} at once: {figure}", number(*size as f64)))
    });
    let mut table = Table::new("the steps of ocinet's attaches at once, ms (`ocinet hook --timings`)", columns);
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in sizes.iter().flat_map(|(_, steps)| steps) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        let cells = sizes.iter().flat_map(|(_, steps)| {
            let times = || steps.iter().filter(|step| step.0 == *name).map(|step| step.1);
            let figures = (times().count() > 0).then(|| Figures::of(times()));
            let longest = times().max().map(|time| Cell::new(time.as_secs_f64() * 1000.0));
            [figures.map(|figures| Cell::new(figures.median)), figures.map(|figures| Cell::new(figures.p99)), longest]
        });
        table.row(name, cells.collect());
    }
    Ok(Some(table))
}

/// The steps of one crowd: each with its name.
fn told(place: &mut Place, size: usize) -> Result<Vec<(String, Duration)>> {
    let containers = crowd(place, size)?;
    let said = Mutex::new(String::new());
    let timed = |command: &mut Command, input: &str| {
        let mut child = command.stderr(Stdio::piped());
        if command_is_attach(child) {
            child = child.arg("--timings");
        }
        let output = ocinet_integration::Output::of(child, input.as_bytes())?;
        said.lock().unwrap_or_else(PoisonError::into_inner).push_str(&output.stderr);
        output.success().map(String::into_bytes)
    };
    attach_and_detach(place, containers, &timed)?;
    place.settle()?;
    let said = said.into_inner().unwrap_or_else(PoisonError::into_inner);
    said.lines().filter_map(|line| step(line).transpose()).collect()
}

fn command_is_attach(command: &Command) -> bool {
    command.get_args().any(|argument| argument == "createRuntime")
}

/// A line `ocinet: NAME MICROSECONDS us`.
fn step(line: &str) -> Result<Option<(String, Duration)>> {
    let Some(rest) = line.strip_prefix("ocinet: ").and_then(|rest| rest.strip_suffix(" us")) else { return Ok(None) };
    let (name, micros) = rest.rsplit_once(' ').with_context(|| format!("a step: {line}"))?;
    Ok(Some((name.trim().to_owned(), Duration::from_micros(micros.trim().parse().with_context(|| line.to_owned())?))))
}
