//! How fast packets travel to and from a container with one published port, under each subject.
//!
//! Each subject has a host of its own, a machine in its LAN, and one container. The subjects are measured in turns, in
//! many short rounds, and compared within each round: other load on the machine affects all of them alike.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::libc::linger;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};

use crate::fixture::{Sandbox, private_host, publish, run};
use crate::{Subject, namespace};

const ROUNDS: usize = 60;
const SLICE: Duration = Duration::from_millis(120);
const SUBJECTS: [(Subject, &str); 3] =
    [(Subject::Ocinet, "ocinet"), (Subject::Netavark, "netavark"), (Subject::Cni, "CNI plugins")];
/// The published port, and the port of the machine in the LAN.
const PUBLISHED: &str = "198.51.100.1:20000";
const LAN: &str = "198.51.100.2:5000";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// Bytes from the LAN into the container.
    In,
    /// Bytes from the container into the LAN.
    Out,
    /// Connections from the LAN, made and broken off.
    Connections,
    /// Answers over one connection from the LAN.
    Requests,
}

const COLUMNS: [(Column, &str, f64); 4] = [
    (Column::In, "in, Gbit/s", 8e-9),
    (Column::Out, "out, Gbit/s", 8e-9),
    (Column::Connections, "connections/s", 1.0),
    (Column::Requests, "requests/s", 1.0),
];

/// Measures all subjects and prints the medians. Also prints by how much ocinet is faster than each peer: the median of
/// all rounds.
pub fn compare() -> Result<()> {
    let sites: Vec<Site> = SUBJECTS.iter().map(|(subject, _)| Site::new(*subject)).collect::<Result<_>>()?;
    let mut figures = vec![[const { Vec::new() }; COLUMNS.len()]; sites.len()];
    for round in 0..ROUNDS {
        for (at, (column, ..)) in COLUMNS.iter().enumerate() {
            // Each subject is first in turn: requests measured right after another column are slower by a tenth.
            for turn in 0..sites.len() {
                let site = (round + turn) % sites.len();
                figures[site][at].push(sites[site].measure(*column)?);
            }
        }
    }
    println!("\n{ROUNDS} rounds of {} ms in turns, median (ocinet beside it)", SLICE.as_millis());
    println!("{:<16}{}", "", COLUMNS.map(|(_, title, _)| format!("{title:>24}")).concat());
    for ((_, name), rounds) in SUBJECTS.iter().zip(&figures) {
        let cell = |at: usize| {
            let ratios = figures[0][at].iter().zip(&rounds[at]).map(|(ours, theirs)| ours / theirs).collect();
            format!("{:>16.1} ({:.3})", median(rounds[at].clone()) * COLUMNS[at].2, median(ratios))
        };
        println!("{name:<16}{}", (0..COLUMNS.len()).map(cell).collect::<String>());
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A host with its container, in a thread of its own that has entered the host's namespaces.
struct Site {
    /// None once the thread has to end.
    questions: Option<Sender<Column>>,
    answers: Receiver<Result<f64>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Site {
    /// Waits until the host's processes have ended.
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Site {
    fn new(subject: Subject) -> Result<Self> {
        let ((questions, asked), (tell, answers)) = (channel(), channel());
        let thread = thread::spawn(move || {
            let result = Place::new(subject).map(|place| {
                let _ = tell.send(Ok(0.0));
                asked.iter().map(|column| place.measure(column)).try_for_each(|answer| tell.send(answer).ok());
            });
            if let Err(error) = result {
                let _ = tell.send(Err(error));
            }
        });
        let site = Self { questions: Some(questions), answers, thread: Some(thread) };
        site.answers.recv()??;
        Ok(site)
    }

    /// The rate per second.
    fn measure(&self, column: Column) -> Result<f64> {
        self.questions.as_ref().context("the end")?.send(column)?;
        self.answers.recv()?
    }
}

struct Place {
    lan: Sandbox,
    container: Sandbox,
}

impl Place {
    fn new(subject: Subject) -> Result<Self> {
        private_host()?;
        let (lan, container) = (Sandbox::new("lan", "")?, Sandbox::new("c0", &publish(1))?);
        let lan_namespace = namespace(&lan)?;
        let pid = lan.process.as_ref().context("the LAN's process")?.id().to_string();
        run(Command::new("ip").args(["link", "set", "outside", "netns", &pid]), "")?;
        for line in ["link set lo up", "address add 198.51.100.2/24 dev outside", "link set outside up"] {
            let within = format!("--net={lan_namespace}");
            run(Command::new("nsenter").args([&within, "ip"]).args(line.split(' ')), "")?;
        }
        subject.attach("c0", &container, 1)?;
        serve(&container, "0.0.0.0:80")?;
        serve(&lan, LAN)?;
        Ok(Self { lan, container })
    }

    fn measure(&self, column: Column) -> Result<f64> {
        let (from, server) = if column == Column::Out { (&self.container, LAN) } else { (&self.lan, PUBLISHED) };
        let server: SocketAddr = server.parse()?;
        inside(from, move || match column {
            Column::In | Column::Out => bytes(server),
            Column::Connections => connections(server),
            Column::Requests => requests(server),
        })
    }
}

/// Runs `work` in the network namespace of `sandbox`, and waits for its end.
fn inside<T: Send + 'static>(sandbox: &Sandbox, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let namespace = File::open(namespace(sandbox)?)?;
    let thread = thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        work()
    });
    thread.join().map_err(|_| anyhow!("a panic in a sandbox"))?
}

/// A server that drops data which begins with the byte 0 and sends all other data back, one connection after the other.
fn serve(sandbox: &Sandbox, address: &'static str) -> Result<()> {
    let listener = inside(sandbox, move || Ok(TcpListener::bind(address)?))?;
    thread::spawn(move || {
        let mut buffer = vec![0; 128 << 10];
        for mut stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            // A client that aborts its connection is no error: one column measures that.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if buffer[0] != 0 && stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }
    });
    Ok(())
}

/// Repeats `work` for a slice of time, and returns the sum of its results per second.
fn rate(mut work: impl FnMut() -> Result<usize>) -> Result<f64> {
    let start = Instant::now();
    let mut done = 0;
    while start.elapsed() < SLICE {
        done += work()?;
    }
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

fn bytes(server: SocketAddr) -> Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    let data = vec![0; 128 << 10];
    rate(|| Ok(stream.write(&data)?))
}

fn connections(server: SocketAddr) -> Result<f64> {
    rate(|| {
        let stream = match TcpStream::connect_timeout(&server, Duration::from_secs(2)) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(0),
            stream => stream?,
        };
        // A reset leaves no port in TIME_WAIT.
        setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
        Ok(1)
    })
}

fn requests(server: SocketAddr) -> Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let mut byte = [1];
    rate(|| {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        Ok(1)
    })
}
