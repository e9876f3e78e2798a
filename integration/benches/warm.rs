//! What `ocinet warm` is worth: attach and detach by a program that lies in single pages of the page cache, as after a
//! boot, and by a copy of it that was warmed, in turns.
//!
//! `cargo bench -p ocinet-integration --bench warm` runs it as root. The copies are in target/, which has to be on a
//! file system with large folios.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use fixture::{Figures, Ports, Sandbox, private_host, run};

const ROUNDS: usize = 150;

fn main() -> Result<()> {
    private_host()?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").canonicalize()?;
    let folder = target.join(format!("warm-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let compared = compare(&folder);
    fs::remove_dir_all(&folder)?;
    compared
}

fn compare(folder: &Path) -> Result<()> {
    let programs = [cold(&folder.join("cold"))?, warm(&folder.join("warm"))?];
    // The first attach makes what all share.
    let first = Sandbox::new("first", &Ports::new(1).publish())?;
    hook(&programs[0], &first, "createRuntime")?;
    hook(&programs[0], &first.end()?, "poststop")?;
    let mut times = [const { (Vec::new(), Vec::new()) }; 2];
    for round in 0..ROUNDS {
        for (program, (attach, detach)) in programs.iter().zip(&mut times) {
            let sandbox = Sandbox::new(&format!("c{round}"), &Ports::new(1).publish())?;
            attach.push(time(|| hook(program, &sandbox, "createRuntime"))?);
            let ended = sandbox.end()?;
            detach.push(time(|| hook(program, &ended, "poststop"))?);
        }
    }
    println!("{:<28} {:>14} {:>8} {:>14} {:>8}", "median (p99), ms", "attach", "ratio", "detach", "ratio");
    let empty = (0..ROUNDS).map(|_| time(|| run(&mut Command::new("/bin/true"), "").map(drop)));
    let empty = Figures::of(empty.collect::<Result<Vec<_>>>()?);
    println!("{:<28} {empty:>14} {:>8} {empty:>14}", "an empty process", "");
    let [cold, warm] = times.map(|(attach, detach)| (Figures::of(attach), Figures::of(detach)));
    for (name, (attach, detach)) in [("single pages", cold), ("ocinet warm", warm)] {
        let (attach_ratio, detach_ratio) = (attach.median / warm.0.median, detach.median / warm.1.median);
        println!("{name:<28} {attach:>14} {attach_ratio:>7.2}x {detach:>14} {detach_ratio:>7.2}x");
    }
    Ok(())
}

/// How long `work` takes.
fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Calls a program as a runtime would.
fn hook(program: &Path, sandbox: &Sandbox, stage: &str) -> Result<()> {
    run(Command::new(program).args(["hook", stage]), &sandbox.state).map(drop)
}

/// A copy that came into the page cache by being run.
fn cold(path: &Path) -> Result<PathBuf> {
    fs::copy(ocinet_integration::ocinet()?, path)?;
    let drop = format!("sync {0}; dd if={0} iflag=nocache count=0 status=none; {0} ps", path.display());
    run(Command::new("sh").args(["-euc", &drop]), "")?;
    Ok(path.to_owned())
}

/// A copy that was warmed.
fn warm(path: &Path) -> Result<PathBuf> {
    fs::copy(ocinet_integration::ocinet()?, path)?;
    let said = run(Command::new(path).arg("warm"), "")?;
    print!("{}", String::from_utf8_lossy(&said));
    Ok(path.to_owned())
}
