//! How fast packets travel to and from a container with published ports, under each subject.
//!
//! Each subject has a host of its own, a machine in its LAN, and one container. The subjects are measured in turns, in
//! many short rounds, and compared within each round: other load on the machine affects all of them alike.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Results, expected, in_turn, inside};
use crate::fixture::{Ports, Sandbox, run};
use crate::host::{Host, Place};
use crate::options::Options;
use crate::subjects::{Kind, Subject, knows};
use crate::table::{Cell, Table, number};

const SLICE: Duration = Duration::from_millis(120);
const SUBJECTS: [Kind; 6] = Kind::UNLIKE;
/// The ports of one container.
const MOST: usize = 1_000;
/// With so many ports it is tried how long many more would take.
const PROBE: usize = 100;
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

/// Plays the scene, for each number of published ports.
pub fn play(options: &Options, until: Instant) -> Result<Results> {
    let tables = options.effort.paths.iter().map(|ports| beside(*ports, options, until)).collect::<Result<_>>()?;
    Ok(Results { tables, ..Results::default() })
}

/// The rates beside `ports` published ports: the medians, and how many times ocinet's they are: the median of all
/// rounds.
fn beside(ports: usize, options: &Options, until: Instant) -> Result<Table> {
    let rounds = options.effort.path_rounds;
    let mut lines = Vec::new();
    for kind in SUBJECTS.into_iter().filter(|kind| knows(*kind, options)) {
        let (subject, budget) = (kind.subject(options)?, options.effort.time_of_path);
        let host = Host::new(move || Line::new(subject, ports, budget))?;
        if host.run(|line| Ok(line.is_some()))? {
            lines.push((kind, host));
        }
    }
    let mut figures = vec![[const { Vec::new() }; COLUMNS.len()]; lines.len()];
    for round in (0..rounds).take_while(|round| *round == 0 || Instant::now() < until) {
        for (at, (column, ..)) in COLUMNS.iter().enumerate() {
            // Each subject is first in turn: requests measured right after another column are slower by a tenth.
            for turn in in_turn(round, lines.len()) {
                let measure = |line: &mut Option<Line>| line.as_ref().context("no line")?.measure(*column);
                figures[turn][at].push(lines[turn].1.run(measure)?);
            }
        }
    }
    let ours = lines.iter().position(|line| line.0 == Kind::Ocinet).context("ocinet has no line")?;
    let done = figures[ours][0].len();
    let title = format!("data path beside {} published ports: median of {done} rounds", number(ports as f64));
    let title = title.replace(" 1 published ports", " 1 published port") + ", times ocinet's";
    let mut table = Table::new(title, COLUMNS.map(|(_, title, _)| title.to_owned()));
    for (turn, (kind, _)) in lines.iter().enumerate() {
        let cell = |at: usize| {
            let ratios = figures[ours][at].iter().zip(&figures[turn][at]).map(|(ours, theirs)| theirs / ours).collect();
            let ratio = (turn != ours).then(|| median(ratios));
            Some(Cell { ratio, ..Cell::new(median(figures[turn][at].clone()) * COLUMNS[at].2) })
        };
        table.row(kind.name(), (0..COLUMNS.len()).map(cell).collect());
    }
    Ok(table)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A machine in the LAN and a container, between which packets travel.
struct Line {
    lan: Sandbox,
    place: Place,
}

impl Line {
    /// Attaches a container, and as many others as it takes for `ports` published ports. Nothing where that would take longer than `budget`, as a
    /// container with fewer ports shows.
    fn new(subject: Box<dyn Subject>, ports: usize, budget: Duration) -> Result<Option<Self>> {
        let mut place = Place::new(subject)?;
        let probe = ports.min(PROBE);
        let took = place.attach(Ports::new(probe), &run)?;
        place.detach(0, &run)?;
        if expected(took.wall, probe, ports) > budget {
            return Ok(None);
        }
        for first in (0..ports).step_by(MOST) {
            let count = (ports - first).min(MOST);
            place.attach(Ports { first: Ports::new(0).first + 2 * first, count }, &run)?;
        }
        let lan = Sandbox::new("lan", "")?;
        let pid = lan.process.as_ref().context("the LAN's process")?.id().to_string();
        run(Command::new("ip").args(["link", "set", "outside", "netns", &pid]), "")?;
        for line in ["link set lo up", "address add 198.51.100.2/24 dev outside", "link set outside up"] {
            run(Command::new("nsenter").args(["--net", "--target", &pid, "ip"]).args(line.split(' ')), "")?;
        }
        let line = Self { lan, place };
        serve(&line.namespace(Side::Container)?, "0.0.0.0:80")?;
        serve(&line.namespace(Side::Lan)?, LAN)?;
        Ok(Some(line))
    }

    fn namespace(&self, side: Side) -> Result<String> {
        match side {
            Side::Container => self.place.attached.first().context("no container")?.0.namespace(),
            Side::Lan => {
                let process = self.lan.process.as_ref().context("the LAN has ended")?;
                Ok(format!("/proc/{}/ns/net", process.id()))
            }
        }
    }

    /// The rate per second.
    fn measure(&self, column: Column) -> Result<f64> {
        let (from, server) = if column == Column::Out { (Side::Container, LAN) } else { (Side::Lan, PUBLISHED) };
        let server: SocketAddr = server.parse()?;
        inside(&self.namespace(from)?, move || match column {
            Column::In | Column::Out => bytes(server),
            Column::Connections => connections(server),
            Column::Requests => requests(server),
        })
    }
}

/// An end of the line.
#[derive(Clone, Copy)]
enum Side {
    Lan,
    Container,
}

/// A server that drops data which begins with the byte 0 and sends all other data back, one connection after the other.
fn serve(namespace: &str, address: &'static str) -> Result<()> {
    let listener = inside(namespace, move || Ok(TcpListener::bind(address)?))?;
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
