//! How long an attach and a detach take, as whole processes, beside an empty process started in the same way.
//!
//! `cargo bench -p ocinet-integration` runs it as root. It makes a host of its own (network and mount namespaces),
//! where each round wires and unwires one sandbox, so that no other process uses the network there. Machines are noisy:
//! compare within one run, by the ratios.

mod fixture;

use anyhow::Result;

use fixture::{Figures, Sandbox, empty_process, private_host, publish, time};

const ROUNDS: usize = 300;
/// Name, ports of the container, and number of containers that are attached already.
const SCENES: [(&str, usize, usize); 5] = [
    ("no port", 0, 0),
    ("1 port", 1, 0),
    ("100 ports", 100, 0),
    ("100 in a range", 100, 0),
    ("1 port beside 500", 1, 500),
];

fn main() -> Result<()> {
    private_host()?;
    let empty = empty_process(ROUNDS)?;
    println!(
        "{:<20} {:>10} {:>10} {:>8} {:>10} {:>8}",
        "median (p99), ms", "empty", "attach", "ratio", "detach", "ratio"
    );
    for (name, ports, others) in SCENES {
        let crowd: Vec<Sandbox> = (0..others).map(|n| Sandbox::new(&format!("other{n}"), "")).collect::<Result<_>>()?;
        crowd.iter().try_for_each(|sandbox| sandbox.hook("createRuntime"))?;
        let publish = match name {
            "100 in a range" => "20000-20099:20000-20099".to_owned(),
            _ => publish(ports),
        };
        let (mut attach, mut detach) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let sandbox = Sandbox::new(&format!("c{round}"), &publish)?;
            attach.push(time(|| sandbox.hook("createRuntime"))?);
            let ended = sandbox.end()?;
            detach.push(time(|| ended.hook("poststop"))?);
        }
        let (attach, detach) = (Figures::of(attach), Figures::of(detach));
        println!(
            "{name:<20} {empty:>10} {attach:>10} {:>7.1}x {detach:>10} {:>7.1}x",
            attach.over(&empty),
            detach.over(&empty)
        );
        for sandbox in crowd {
            sandbox.end()?.hook("poststop")?;
        }
    }
    Ok(())
}
