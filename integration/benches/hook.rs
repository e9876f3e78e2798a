//! How long an attach and a detach take, as whole processes, beside an empty process started in the same way.
//!
//! `cargo bench -p ocinet-integration` runs it as root. It makes a host of its own (network and mount namespaces), where
//! each round wires and unwires one sandbox, so that only the process under measurement does anything. Machines are
//! noisy: compare within one run, by the ratios.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const ROUNDS: usize = 300;
/// Ports, and containers there already.
const SCENES: [(&str, usize, usize); 5] = [
    ("no port", 0, 0),
    ("1 port", 1, 0),
    ("100 ports", 100, 0),
    ("100 in a range", 100, 0),
    ("1 port beside 500", 1, 500),
];

fn main() -> Result<()> {
    private_host()?;
    let empty = measure(ROUNDS, |_| run(&mut Command::new("/bin/true"), ""))?;
    println!(
        "{:<20} {:>10} {:>10} {:>8} {:>10} {:>8}",
        "median (p99), µs", "empty", "attach", "ratio", "detach", "ratio"
    );
    for (name, ports, others) in SCENES {
        let crowd: Vec<Sandbox> = (0..others).map(|n| Sandbox::new(&format!("other{n}"), "")).collect::<Result<_>>()?;
        crowd.iter().try_for_each(|sandbox| sandbox.hook("createRuntime"))?;
        let publish = match name {
            "100 in a range" => "20000-20099:20000-20099".to_owned(),
            _ => (0..ports).map(|n| format!("{}:80", 20_000 + 2 * n)).collect::<Vec<_>>().join(","),
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

/// Namespaces of our own, with an uplink, and an empty /run.
fn private_host() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("run this as root")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    for line in [
        "link set lo up",
        "link add uplink type veth peer name outside",
        "addr add 198.51.100.1/24 dev uplink",
        "link set uplink up",
        "link set outside up",
        "route add default via 198.51.100.2",
    ] {
        run(Command::new("ip").args(line.split(' ')), "")?;
    }
    Ok(())
}

/// A process in a network namespace of its own, and its bundle.
struct Sandbox {
    state: String,
    bundle: PathBuf,
    process: Option<Child>,
}

impl Sandbox {
    fn new(id: &str, publish: &str) -> Result<Self> {
        let bundle = Path::new("/run/bundles").join(id);
        fs::create_dir_all(&bundle)?;
        fs::write(
            bundle.join("config.json"),
            r#"{"ociVersion":"1.0.0","root":{"path":"rootfs"},"linux":{"namespaces":[{"type":"network"}]}}"#,
        )?;
        let process = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn()?;
        let own = fs::read_link("/proc/self/ns/net")?;
        let namespace = format!("/proc/{}/ns/net", process.id());
        while fs::read_link(&namespace)? == own {
            std::thread::yield_now();
        }
        let annotations = serde_json::json!({"io.ocinet.network": "bridge", "io.ocinet.publish": publish});
        let state = serde_json::json!({
            "ociVersion": "1.0.0", "id": id, "status": "creating", "pid": process.id(), "bundle": bundle, "annotations": annotations,
        });
        Ok(Self { state: state.to_string(), bundle, process: Some(process) })
    }

    fn hook(&self, stage: &str) -> Result<()> {
        run(Command::new(ocinet_integration::ocinet()?).args(["hook", stage]), &self.state)
    }

    /// Ends the process, and waits as long as a runtime takes until it calls poststop.
    fn end(mut self) -> Result<Self> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(self)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.bundle);
    }
}

fn run(command: &mut Command, input: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| format!("{command:?}"))?;
    child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn measure(rounds: usize, work: impl Fn(usize) -> Result<()>) -> Result<Figures> {
    Ok(Figures::of((0..rounds).map(|round| time(|| work(round))).collect::<Result<_>>()?))
}

struct Figures {
    median: Duration,
    p99: Duration,
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self { median: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }

    fn over(&self, other: &Self) -> f64 {
        self.median.as_secs_f64() / other.median.as_secs_f64()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{} ({})", self.median.as_micros(), self.p99.as_micros()))
    }
}
