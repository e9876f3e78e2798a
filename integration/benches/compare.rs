//! ocinet beside its peers: how long an attach and a detach take.
//!
//! `integration/compare` runs it as root. Each subject has a private host of its own and does the same there: a bridge,
//! an address, a default route, masquerading and published ports, for a namespace that the benchmark made. For each
//! subject the first published port is tried once. A time covers all processes that the runtime starts and waits for,
//! one after the other. Machines are noisy: compare within one run, by the ratios. With the argument `datapath` it
//! measures only the packets.

mod datapath;
mod fixture;

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};

use fixture::{Figures, Sandbox, empty_process, host_ports, private_host, publish, run, time};

const ROUNDS: usize = 50;
/// The time for one subject. A slow subject does fewer rounds.
const BUDGET: Duration = Duration::from_secs(20);
const PLUGINS: &str = "/usr/lib/cni";
const NETAVARK: &str = "/usr/lib/podman/netavark";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// As under runc and crun: the container's namespace is gone when ocinet detaches.
    Ocinet,
    /// As under an engine that deletes the namespace only after the detach. The peers need this.
    OcinetKept,
    Netavark,
    Cni,
}

const SUBJECTS: [(Subject, &str); 4] = [
    (Subject::Ocinet, "ocinet"),
    (Subject::OcinetKept, "ocinet, namespace kept"),
    (Subject::Netavark, "netavark"),
    (Subject::Cni, "CNI plugins"),
];

fn main() -> Result<()> {
    for (file, package) in [(NETAVARK, "netavark"), (PLUGINS, "containernetworking-plugins")] {
        File::open(file).with_context(|| format!("{file}: it comes with the package {package}"))?;
    }
    if !std::env::args().any(|argument| argument == "datapath") {
        waits()?;
    }
    datapath::compare()
}

fn waits() -> Result<()> {
    for ports in [1, 100] {
        private_host()?;
        let empty = empty_process(ROUNDS)?;
        let title = format!("{ports} published, median (p99) in ms");
        println!("\n{title:<36} {:>6} {:>20} {:>7} {:>20} {:>7}", "rounds", "attach", "ratio", "detach", "ratio");
        println!("{:<36} {ROUNDS:>6} {empty:>20} {:>7} {empty:>20}", "an empty process", "");
        let mut ours = None;
        for (subject, name) in SUBJECTS {
            private_host()?;
            let (rounds, attach, detach) = measure(subject, ports).with_context(|| name.to_owned())?;
            let (first_attach, first_detach) = ours.get_or_insert((attach, detach));
            println!(
                "{name:<36} {rounds:>6} {attach:>20} {:>6.1}x {detach:>20} {:>6.1}x",
                attach.over(first_attach),
                detach.over(first_detach)
            );
        }
    }
    Ok(())
}

fn measure(subject: Subject, ports: usize) -> Result<(usize, Figures, Figures)> {
    let (mut attach, mut detach) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for round in 0..=ROUNDS {
        if start.elapsed() > BUDGET {
            break;
        }
        let id = format!("c{round}");
        let mut sandbox = Sandbox::new(&id, &publish(ports))?;
        let mut done = Value::Null;
        let attached = time(|| subject.attach(&id, &sandbox, ports).map(|result| done = result))?;
        if round == 0 {
            works(&sandbox)?;
        }
        if subject == Subject::Ocinet {
            sandbox = sandbox.end()?;
        }
        let detached = time(|| subject.detach(&id, &sandbox, ports, &done))?;
        // The first round also makes the bridge and loads the rules.
        if round > 0 {
            attach.push(attached);
            detach.push(detached);
        }
        drop(sandbox);
        thread::sleep(Duration::from_millis(50)); // until the kernel has taken the namespace apart
    }
    Ok((attach.len(), Figures::of(attach), Figures::of(detach)))
}

impl Subject {
    /// Returns the value that the detach needs.
    fn attach(self, id: &str, sandbox: &Sandbox, ports: usize) -> Result<Value> {
        match self {
            Self::Ocinet | Self::OcinetKept => sandbox.hook("createRuntime").map(|()| Value::Null),
            Self::Netavark => netavark("setup", id, sandbox, ports),
            Self::Cni => cni_plugins(ports)
                .iter()
                .try_fold(Value::Null, |previous, plugin| cni("ADD", id, sandbox, plugin, previous)),
        }
    }

    fn detach(self, id: &str, sandbox: &Sandbox, ports: usize, attached: &Value) -> Result<()> {
        match self {
            Self::Ocinet | Self::OcinetKept => sandbox.hook("poststop"),
            Self::Netavark => netavark("teardown", id, sandbox, ports).map(drop),
            Self::Cni => cni_plugins(ports)
                .iter()
                .rev()
                .try_for_each(|plugin| cni("DEL", id, sandbox, plugin, attached.clone()).map(drop)),
        }
    }
}

/// Calls netavark with what podman gives it for a container on its default network; the address is podman's choice.
fn netavark(verb: &str, id: &str, sandbox: &Sandbox, ports: usize) -> Result<Value> {
    let mappings = host_ports(ports)
        .map(|port| json!({"container_port": 80, "host_ip": "", "host_port": port, "protocol": "tcp", "range": 1}));
    let input = json!({
        "container_id": id,
        "container_name": id,
        "port_mappings": mappings.collect::<Vec<_>>(),
        "networks": {"podman": {"static_ips": ["10.88.0.2"], "interface_name": "eth0"}},
        "network_info": {"podman": {
            "name": "podman",
            "id": "2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9",
            "driver": "bridge",
            "network_interface": "podman0",
            "created": "2024-01-01T00:00:00Z",
            "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
            "ipv6_enabled": false,
            "internal": false,
            "dns_enabled": false,
            "ipam_options": {"driver": "host-local"},
        }},
    });
    let mut command = Command::new(NETAVARK);
    command.args(["--config", "/run/networks", "--rootless=false", verb, &namespace(sandbox)?]);
    let output = run(&mut command, &input.to_string())?;
    Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
}

/// The chain that podman and nerdctl configure for a bridge.
fn cni_plugins(ports: usize) -> [Value; 3] {
    let mappings = host_ports(ports).map(|port| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"}));
    [
        json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": "/run/cni", "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.89.0.0/16"}]],
            },
        }),
        json!({
            "type": "portmap", "capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": mappings.collect::<Vec<_>>()},
        }),
        json!({"type": "firewall", "backend": "iptables"}),
    ]
}

/// Calls one plugin as libcni does, with the result so far.
fn cni(verb: &str, id: &str, sandbox: &Sandbox, plugin: &Value, previous: Value) -> Result<Value> {
    let mut input = plugin.clone();
    input["cniVersion"] = json!("1.0.0");
    input["name"] = json!("bench");
    if !previous.is_null() {
        input["prevResult"] = previous;
    }
    let name = plugin["type"].as_str().context("a plugin's name")?;
    let mut command = Command::new(format!("{PLUGINS}/{name}"));
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", namespace(sandbox)?)
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", PLUGINS);
    let output = run(&mut command, &input.to_string())?;
    Ok(serde_json::from_slice(&output).unwrap_or(Value::Null))
}

fn namespace(sandbox: &Sandbox) -> Result<String> {
    let process = sandbox.process.as_ref().context("the sandbox has ended")?;
    Ok(format!("/proc/{}/ns/net", process.id()))
}

/// Whether the first published port leads into the sandbox.
fn works(sandbox: &Sandbox) -> Result<()> {
    let namespace = File::open(namespace(sandbox)?)?;
    let listener = thread::spawn(move || -> Result<TcpListener> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(TcpListener::bind("0.0.0.0:80")?)
    });
    let listener = listener.join().map_err(|_| anyhow!("a panic in the sandbox"))??;
    let published = SocketAddr::from(([198, 51, 100, 1], 20_000));
    TcpStream::connect_timeout(&published, Duration::from_secs(2)).context("the published port")?;
    listener.accept()?;
    Ok(())
}
