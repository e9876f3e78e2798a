//! What our shim costs: `ctr run --rm` of a program that ends at once, with the stock shim and without a network, and with ours
//! on the bridge, in turns.
//!
//! `cargo bench -p ocinet-integration --bench containerd` runs it as root, with the programs of `integration/test`.

use std::time::{Duration, Instant};

use anyhow::Result;
use ocinet_integration::Settings;
use ocinet_integration::containerd::{Containerd, Release};

const ROUNDS: usize = 100;

/// How each round is run: with the stock shim, with ours, and with ours and a port.
const WAYS: [(&str, &str); 3] = [
    ("stock shim", "--runtime io.containerd.runc.v2"),
    ("ocinet, bridge", "--runtime io.containerd.ocinet.v2"),
    ("ocinet, a port", "--runtime io.containerd.ocinet.v2 --annotation io.ocinet.publish=8080:80"),
];

fn main() -> Result<()> {
    println!("{:<8} {:<16} {:>10} {:>10} {:>10} {:>8}", "", "", "median, ms", "p99, ms", "more, ms", "ratio");
    for release in Release::ALL {
        Settings::default().test(|host| {
            let containerd = Containerd::start(host, release)?;
            let mut times: [Vec<Duration>; WAYS.len()] = Default::default();
            for round in 0..=ROUNDS {
                for ((_, flags), times) in WAYS.iter().zip(&mut times) {
                    let took = run(&containerd, flags, round)?;
                    // The first one of each loads what it needs.
                    times.extend((round > 0).then_some(took));
                }
            }
            report(release, &mut times);
            host.settles()
        })?;
    }
    Ok(())
}

fn run(containerd: &Containerd<'_>, flags: &str, round: usize) -> Result<Duration> {
    let start = Instant::now();
    containerd.ctr(&format!("run --rm --rootfs {flags} /mnt/rootfs c{round} /bin/busybox true"))?.success()?;
    Ok(start.elapsed())
}

fn report(release: Release, times: &mut [Vec<Duration>]) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    times.iter_mut().for_each(|times| times.sort());
    let stock = ms(times[0][ROUNDS / 2]);
    for ((way, _), times) in WAYS.iter().zip(times.iter()) {
        let (median, worst) = (ms(times[ROUNDS / 2]), ms(times[ROUNDS * 99 / 100]));
        let (more, ratio) = (median - stock, median / stock);
        println!("{:<8} {way:<16} {median:>10.1} {worst:>10.1} {more:>10.1} {ratio:>7.2}x", format!("{release:?}"));
    }
}
