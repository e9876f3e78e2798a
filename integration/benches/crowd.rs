//! What everyone waits for: 200 attaches at once, and 1,000, as whole processes, with the wait at each lock.
//!
//!     cargo bench -p ocinet-integration --bench crowd -- [SIZE[=ROUNDS]]...
//!
//! It ends with exit code 1 where a call failed. 1,000 is near the limit of a bridge, which is 1,023 ports. Each call
//! prints its own times (`--timings`); what is outside of its steps is the difference to the time of the process.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use ocinet_integration::survive::{AtOnce, Crowded, Times, at_once};

const SIZES: [(usize, usize); 2] = [(200, 5), (1_000, 1)];

fn main() -> Result<ExitCode> {
    let mut sizes = std::env::args().skip(1).filter(|word| word != "--bench").map(size).collect::<Result<Vec<_>>>()?;
    if sizes.is_empty() {
        sizes = SIZES.into();
    }
    let mut errors = 0;
    for (size, rounds) in sizes {
        println!("\n{size} at once, {rounds} times");
        let Crowded { attach, detach, alone } = at_once(size, rounds)?;
        for (what, figures) in [("attach alone", &alone), ("attach at once", &attach), ("detach at once", &detach)] {
            tell(what, figures);
            errors += figures.errors.len();
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn size(word: String) -> Result<(usize, usize)> {
    let (size, rounds) = word.split_once('=').unwrap_or((&word, "1"));
    let number = |text: &str| text.parse::<usize>().with_context(|| format!("{word:?} is no SIZE[=ROUNDS]"));
    let (size, rounds) = (number(size)?, number(rounds)?);
    ensure!((1..=1_000).contains(&size) && rounds > 0, "a crowd is 1 to 1,000 containers, not {size}");
    Ok((size, rounds))
}

fn tell(what: &str, figures: &AtOnce) {
    let AtOnce { whole, outside, steps, locks, errors } = figures;
    println!("\n  {what:<30} {:>12} {:>10} {:>10}", "sum, ms", "p50, ms", "p99, ms");
    row("whole process", whole);
    row("outside of the steps", outside);
    rows("step", steps);
    rows("wait: lock", locks);
    println!("  errors: {}", errors.len());
    errors.iter().take(20).for_each(|error| println!("    {error}"));
}

fn rows(kind: &str, times: &BTreeMap<String, Times>) {
    times.iter().for_each(|(name, times)| row(&format!("{kind} {name}"), times));
}

fn row(what: &str, times: &Times) {
    println!("  {what:<30} {:>12.1} {:>10.2} {:>10.2}", times.sum(), times.percentile(50), times.percentile(99));
}
