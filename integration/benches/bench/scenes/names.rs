//! Names: what an attach to a network with names takes, and how the name server answers beside many containers. No peer
//! has an OCI hook that knows names.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Results, in_turn, runners};
use crate::cost::Cost;
use crate::fixture::{Figures, Ports, run};
use crate::host::{BRIDGE, Place};
use crate::options::Options;
use crate::subjects::{Kind, define};
use crate::table::{Cell, Table, number};

const NETWORK: &str = "n0";
/// With room for all containers.
const SUBNET: &str = "10.200.0.0/16";
const SERVER: &str = "169.254.53.53";

/// How long the name server may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the name server beside some containers.
struct Answers {
    /// Of one processor in a second.
    each_second: f64,
    /// At 5,000 questions a second, in microseconds.
    median: f64,
    p99: f64,
    /// Of both processes, in MiB.
    memory: f64,
}

/// Plays the scene. After `until`, nothing more is begun.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let runners = runners(&[Kind::Ocinet], options)?;
    let runner = runners.first().context("ocinet")?;
    let (rounds, counts) = (options.effort.rounds, options.effort.positions);
    let (attaches, answers) = runner.host.run(move |place| {
        define(NETWORK, &["--subnet", SUBNET])?;
        // The name server's port stays on the bridge.
        place.attach_to(NETWORK, Ports::new(0), &run)?;
        place.detach(0, &run)?;
        place.count_links()?;
        let attaches = attaches(place, rounds)?;
        let mut answers = Vec::new();
        for count in counts.iter().take_while(|_| Instant::now() < until) {
            while place.attached.len() < *count {
                place.attach_to(NETWORK, Ports::new(0), &run)?;
            }
            answers.push((*count, asked(place)?));
        }
        place.clear()?;
        Ok((attaches, answers))
    })?;
    let titles = ["the default bridge", "a network with names", "the first there, which starts the name server"];
    let mut attach = Table::new("attach, names, ms: median (p99)", titles.map(String::from));
    let cell = |costs: &Vec<Cost>| {
        let figures = Figures::of(costs.iter().map(|cost| cost.wall));
        Some(Cell { p99: Some(figures.p99), ..Cell::new(figures.median) })
    };
    attach.row(runner.kind.name(), attaches.iter().map(cell).collect());
    let columns = answers.iter().map(|(count, _)| number(*count as f64));
    let mut table = Table::new("the name server beside so many containers", columns);
    let mut row = |name: &str, part: fn(&Answers) -> f64| {
        table.row(name, answers.iter().map(|(_, one)| Some(Cell::new(part(one)))).collect());
    };
    row("answers of one processor in a second", |one| one.each_second.round());
    row("an answer at 5,000 questions a second, µs: median", |one| one.median);
    row("the same, p99", |one| one.p99);
    row("memory of both processes, MiB", |one| one.memory);
    Ok(Results { tables: vec![attach, table], ..Results::default() })
}

/// Attaches to the default bridge, to a network whose name server runs, and to one whose name server does not.
fn attaches(place: &mut Place, rounds: usize) -> Result<[Vec<Cost>; 3]> {
    let mut costs = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        for way in in_turn(round, costs.len()) {
            let beside = way == 1;
            if beside {
                place.attach_to(NETWORK, Ports::new(0), &run)?;
            }
            let cost = place.attach_to([BRIDGE, NETWORK, NETWORK][way], Ports::new(1), &run)?;
            // The first round warms up.
            if round > 0 {
                costs[way].push(cost);
            }
            while !place.attached.is_empty() {
                place.detach(0, &run)?;
            }
            place.settle()?;
            await_end()?;
        }
    }
    Ok(costs)
}

/// Asks the name server from the first container for the last.
fn asked(place: &Place) -> Result<Answers> {
    let [first, .., last] = &place.attached[..] else {
        return ask(place.attached.first().context("a container")?, "c0");
    };
    ask(first, &last.0.id())
}

fn ask((container, _): &(crate::host::Container, Value), name: &str) -> Result<Answers> {
    let asker = |words: &[&str]| -> Result<Vec<f64>> {
        let mut command = Command::new("nsenter");
        let namespace = format!("--net={}", container.namespace()?);
        command.arg(namespace).arg(ocinet_integration::helper("asker")?).args(words);
        let said = String::from_utf8(run(&mut command, "")?)?;
        let line = said.lines().last().context("what the asker found")?;
        line.split(' ').map(|word| Ok(word.parse()?)).collect()
    };
    let status = status()?.context("the name server runs")?;
    let pid = |key: &str| status[key].as_u64().context("a pid");
    let before = processor_time(pid("worker")?)?;
    let answered = asker(&["rush", SERVER, name, "3"])?[0];
    let spent = processor_time(pid("worker")?)?.saturating_sub(before);
    let [.., median, p99] = asker(&["many", SERVER, name, "20000", "5000"])?[..] else {
        anyhow::bail!("the asker says less than it should");
    };
    let memory = (memory(pid("pid")?)? + memory(pid("worker")?)?) as f64 / 1024.0;
    Ok(Answers { each_second: answered / spent.as_secs_f64(), median, p99, memory })
}

/// What the name server says of itself; none where none runs.
fn status() -> Result<Option<Value>> {
    let said = Command::new(ocinet_integration::ocinet()?).args(["agent", "status", "--json"]).output()?;
    Ok(serde_json::from_slice(&said.stdout).ok().filter(|_| said.status.success()))
}

fn await_end() -> Result<()> {
    let since = Instant::now();
    while since.elapsed() < PATIENCE && status()?.is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The processor's time of a process, in ticks of 10 ms (proc_pid_stat(5)).
fn processor_time(pid: u64) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a line of fields")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// The memory of a process, in KiB, with its part of what it shares (proc_pid_smaps(5)).
fn memory(pid: u64) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("a line Pss")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}
