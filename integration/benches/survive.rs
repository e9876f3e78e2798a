//! What ocinet survives, in figures. `integration/survive` runs it.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ocinet_integration::Settings;
use ocinet_integration::survive::{
    Look, Scene, Share, Stage, Tally, Times, Whose, at_every_call, at_every_fault, at_random, crowds, cycles, is_flat,
    recovery, runtime_killed, too_small_a_subnet, under_runc,
};

const USAGE: &str = "usage: integration/survive [--share PERCENT] [PART[=PERCENT]]...
parts: calls, faults, random, runc, runtime, crowds, subnet, cycles, flush";

/// Tries something, prints the figures, and returns whether there was no failure.
type Run = fn(Share) -> Result<bool>;

/// Everything that is tried.
const PARTS: [(&str, Run); 9] = [
    ("calls", calls),
    ("faults", faults),
    ("random", random),
    ("runc", runc),
    ("runtime", runtime),
    ("crowds", crowd),
    ("subnet", subnet),
    ("cycles", cycle),
    ("flush", flush),
];

/// A try waits more than it computes, so even a small machine runs several at once.
const WORKERS: usize = 6;

fn main() -> Result<ExitCode> {
    let mut good = true;
    let start = Instant::now();
    for (name, run, share) in wanted(std::env::args().skip(1).filter(|word| word != "--bench"))? {
        good &= run(share).with_context(|| name.to_owned())?;
    }
    println!("\n{} in {} s", if good { "nothing was lost" } else { "SOMETHING WENT WRONG" }, start.elapsed().as_secs());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The parts that the command line asks for, each with its share.
fn wanted(mut words: impl Iterator<Item = String>) -> Result<Vec<(&'static str, Run, Share)>> {
    let share = |percent: &str| -> Result<Share> {
        let percent: f64 = percent.parse().with_context(|| format!("{percent:?} is no number of per cent"))?;
        ensure!(percent > 0.0 && percent <= 100.0, "a share is more than 0 and at most 100 per cent, not {percent}");
        Ok(if percent < 100.0 { Share::percent(percent) } else { Share::ALL })
    };
    let (mut general, mut parts) = (Share::ALL, Vec::new());
    while let Some(word) = words.next() {
        if word == "--share" {
            general = share(&words.next().context("--share needs a number of per cent")?)?;
            continue;
        }
        let (name, percent) = word.split_once('=').map_or((&word[..], None), |(name, percent)| (name, Some(percent)));
        let Some((name, run)) = PARTS.into_iter().find(|part| part.0 == name) else { bail!("{word:?}?\n{USAGE}") };
        parts.push((name, run, percent.map(share).transpose()?));
    }
    if parts.is_empty() {
        parts = PARTS.map(|(name, run)| (name, run, None)).into();
    }
    Ok(parts.into_iter().map(|(name, run, own)| (name, run, own.unwrap_or(general))).collect())
}

fn title(title: &str, share: Share) {
    println!("\n{title}{}", if share.is_all() { "" } else { " (a share only)" });
}

fn row(what: impl Display, figures: impl Display) {
    println!("  {what:<44} {figures}");
}

fn kills(what: &str, tally: &Tally) -> bool {
    told(what, tally, "kills", "leaks")
}

/// Prints a row for a tally. The tries are called `tries` and the failures `failures`.
fn told(what: &str, tally: &Tally, tries: &str, failures: &str) -> bool {
    let Tally { points, tried, missed, leaks } = tally;
    let (not, bad) = (missed.len(), leaks.len());
    row(what, format!("{tried:>6} of {points:>6} {tries}, {not:>2} did not happen, {bad:>2} {failures}"));
    for failure in missed.iter().chain(leaks) {
        println!("    {}", failure.replace('\n', "\n      "));
    }
    missed.is_empty() && leaks.is_empty() && *tried > 0
}

fn calls(share: Share) -> Result<bool> {
    title("killed at every system call of every thread and child, each time with four things to follow", share);
    let mut good = true;
    for scene in Scene::KILLS {
        good &= kills(scene.name(), &at_every_call(scene, &Settings::default(), share, WORKERS)?);
    }
    Ok(good)
}

fn faults(share: Share) -> Result<bool> {
    title("each system call fails once with each error that it can give, beside a container that lives", share);
    let mut good = true;
    for scene in Scene::FAULTS {
        for (whose, of) in [(Whose::Own, ""), (Whose::Children, ", its children")] {
            let tally = at_every_fault(scene, whose, &Settings::default(), share, WORKERS)?;
            good &= tally.points == 0 || told(&format!("{}{of}", scene.name()), &tally, "errors", "findings");
        }
    }
    Ok(good)
}

fn random(share: Share) -> Result<bool> {
    title("killed at random moments", share);
    Ok(kills("every kind of call", &at_random(10_000, &Settings::default(), share, WORKERS)?))
}

fn runc(share: Share) -> Result<bool> {
    title("killed at every system call under runc", share);
    let attach = kills("createRuntime", &under_runc(Stage::Attach, share, WORKERS)?);
    Ok(kills("poststop", &under_runc(Stage::Detach, share, WORKERS)?) && attach)
}

fn runtime(share: Share) -> Result<bool> {
    title("runc itself killed at random moments", share);
    Ok(kills("runc run", &runtime_killed(300, share, WORKERS)?))
}

fn crowd(share: Share) -> Result<bool> {
    title("200 attaches at once, then 100 attaches and 100 detaches, then 200 detaches; gc all the while", share);
    let crowds = crowds(200, share.of(50))?;
    row("rounds, calls", format!("{}, {}", crowds.rounds, crowds.calls));
    row("errors, duplicates", format!("{}, {}", crowds.errors.len(), crowds.duplicates.len()));
    row("one attach, p50 / p99", &crowds.attach);
    row("one detach, p50 / p99", &crowds.detach);
    crowds.errors.iter().chain(&crowds.duplicates).take(20).for_each(|failure| println!("    {failure}"));
    Ok(crowds.is_clean().is_ok())
}

fn subnet(share: Share) -> Result<bool> {
    title("20 attaches at once in a subnet with room for 13", share);
    let rounds = share.of(20);
    too_small_a_subnet(rounds)?;
    row("rounds in which exactly 7 got exit code 4", format!("{rounds} of {rounds}"));
    Ok(true)
}

fn cycle(share: Share) -> Result<bool> {
    title("one attach and detach after the other on one host", share);
    let looks = cycles(share.of(10_000))?;
    let line = |look: &Look| {
        let Look { cycles, store, rules, links, attach_memory, detach_memory, attach, detach } = look;
        let memory = format!("{attach_memory:>5} KiB {detach_memory:>5} KiB");
        row(
            format!("after {cycles:>5}"),
            format!("store {store} bytes, {rules} lines of rules, {links} links, memory {memory}, {attach}, {detach}"),
        );
    };
    looks.first().into_iter().chain(looks.get(looks.len() / 2)).chain(looks.last()).for_each(line);
    let flat = is_flat(&looks);
    row("flat", flat.as_ref().map_or_else(ToString::to_string, |()| "yes".to_owned()));
    Ok(flat.is_ok())
}

fn flush(share: Share) -> Result<bool> {
    const LIMIT: f64 = 500.0;
    title("nft flush ruleset with 200 endpoints, restored by the next attach", share);
    let times: Times = recovery(200, share.of(20))?;
    row("that attach, p50 / p99", &times);
    Ok(times.percentile(100) < LIMIT)
}
