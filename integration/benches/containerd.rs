//! The cost of our shim: `ctr run --rm` of a program that ends at once, with the stock shim and without a network, and
//! with our shim in several ways. Each round tries all ways, in another order each time, and a figure is compared
//! within its round. The number after ± is the standard error of the difference.
//!
//! `cargo bench -p ocinet-integration --bench containerd` runs it as root, with the programs of `integration/test`.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use ocinet_integration::Settings;
use ocinet_integration::containerd::{Containerd, Release};

const ROUNDS: usize = 100;

/// The pause between two containers. The kernel deletes the network of the last container after its end, and blocks all
/// other network changes meanwhile.
const PAUSE: Duration = Duration::from_millis(150);

/// How a container is run in each round. The others are compared with the first. The second has our shim but no hook;
/// the third has hooks but no link.
const WAYS: [(&str, &str); 5] = [
    ("stock shim", "--runtime io.containerd.runc.v2"),
    ("host, unasked", "--runtime io.containerd.ocinet.v2 --net-host"),
    ("none", "--runtime io.containerd.ocinet.v2 --annotation io.ocinet.network=none"),
    ("bridge", "--runtime io.containerd.ocinet.v2"),
    ("bridge, a port", "--runtime io.containerd.ocinet.v2 --annotation io.ocinet.publish=8080:80"),
];

fn main() -> Result<()> {
    println!("{:<8} {:<16} {:>10} {:>10} {:>14} {:>8}", "", "", "median, ms", "p99, ms", "more, ms", "ratio");
    for release in Release::ALL {
        Settings::default().test(|host| {
            let containerd = Containerd::start(host, release)?;
            // The first container of each way loads the programs and rules that it needs.
            round(&containerd, 0)?;
            let rounds: Vec<_> = (1..=ROUNDS).map(|number| round(&containerd, number)).collect::<Result<_>>()?;
            report(release, &rounds);
            host.settles()
        })?;
    }
    Ok(())
}

/// What each of the ways took, in milliseconds.
fn round(containerd: &Containerd<'_>, number: usize) -> Result<[f64; WAYS.len()]> {
    let mut times = [0.0; WAYS.len()];
    for turn in 0..WAYS.len() {
        let way = (number + turn) % WAYS.len();
        sleep(PAUSE);
        let start = Instant::now();
        let run = format!("run --rm --rootfs {} /mnt/rootfs c{number} /bin/busybox true", WAYS[way].1);
        containerd.ctr(&run)?.success()?;
        times[way] = start.elapsed().as_secs_f64() * 1e3;
    }
    Ok(times)
}

fn report(release: Release, rounds: &[[f64; WAYS.len()]]) {
    for (way, (name, _)) in WAYS.iter().enumerate() {
        let of_all = |figure: fn(&[f64; WAYS.len()], usize) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(|times| figure(times, way)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let (times, more) = (of_all(|times, way| times[way]), of_all(|times, way| times[way] - times[0]));
        let ratio = of_all(|times, way| times[way] / times[0]);
        let (median, p99) = (ROUNDS / 2, ROUNDS * 99 / 100);
        println!(
            "{:<8} {name:<16} {:>10.1} {:>10.1} {:>8.1} ± {:<3.1} {:>7.2}x",
            format!("{release:?}"),
            times[median],
            times[p99],
            more[median],
            error_of_median(&more),
            ratio[median]
        );
    }
}

/// The standard error of the median of sorted figures, as if they were distributed normally. It uses the middle half,
/// since a few figures are far larger.
fn error_of_median(sorted: &[f64]) -> f64 {
    let count = sorted.len();
    let deviation = (sorted[count * 3 / 4] - sorted[count / 4]) / 1.349;
    1.253 * deviation / (count as f64).sqrt()
}
