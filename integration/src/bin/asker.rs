//! A client of name servers: what a container asks, well or badly.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

const USAGE: &str = "usage: asker ask SERVER udp|tcp TYPE NAME...
       asker find NAME
       asker many SERVER NAME COUNT EACH_SECOND
       asker rush SERVER NAME SECONDS
       asker flood SERVER SECONDS
       asker hold SERVER COUNT SECONDS
       asker raw SERVER HEX...
       asker filtered acct|inotify_init1 PROGRAM [ARGUMENT]...";

/// How long an answer may take that comes at once, or not at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// By how many sockets many questions are asked at once.
const SOCKETS: usize = 16;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ask", server, protocol, kind, ref names @ ..] => ask(at(server)?, protocol, kind, names),
        ["find", name] => find(name),
        ["many", server, name, count, rate] => many(at(server)?, name, count.parse()?, rate.parse()?),
        ["rush", server, name, seconds] => rush(at(server)?, name, seconds.parse()?),
        ["flood", server, seconds] => flood(at(server)?, seconds.parse()?),
        ["hold", server, count, seconds] => hold(at(server)?, count.parse()?, seconds.parse()?),
        ["raw", server, ref messages @ ..] => raw(at(server)?, messages),
        ["filtered", "acct", program, ref arguments @ ..] => filtered(libc::SYS_acct, libc::EPERM, program, arguments),
        ["filtered", "inotify_init1", program, ref arguments @ ..] => {
            filtered(libc::SYS_inotify_init1, libc::EMFILE, program, arguments)
        }
        _ => Err(USAGE.into()),
    }
}

fn at(server: &str) -> Outcome<SocketAddr> {
    Ok(SocketAddr::new(server.parse()?, 53))
}

/// A question (RFC 1035, section 4.1).
fn question(id: u16, name: &str, kind: &str) -> Outcome<Vec<u8>> {
    let kind: u16 = match kind {
        "A" => 1,
        "PTR" => 12,
        "MX" => 15,
        "AAAA" => 28,
        other => other.parse()?,
    };
    let mut message = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len().try_into()?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    Ok(message)
}

/// `CODE[ TC]: DATA...` of an answer.
fn shown(answer: &[u8]) -> Outcome<String> {
    let byte = |at: usize| answer.get(at).copied().ok_or("a short answer");
    let number = |at: usize| Ok::<_, Box<dyn Error>>(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let code = match byte(3)? & 15 {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        other => format!("code {other}"),
    };
    let cut = if byte(2)? & 2 == 0 { "" } else { " TC" };
    let mut at = 12;
    if number(4)? == 1 {
        at = past_name(answer, at)? + 4;
    }
    let mut text = format!("{code}{cut}:");
    for _ in 0..number(6)? {
        let data = past_name(answer, at)? + 10;
        let length = usize::from(number(data - 2)?);
        let bytes = answer.get(data..data + length).ok_or("a short answer")?;
        let word = match (number(data - 10)?, length) {
            (1, 4) => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string(),
            (28, 16) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes)?).to_string(),
            (12, _) => name_at(answer, data)?,
            (kind, _) => format!("type {kind}"),
        };
        let ttl = number(data - 4)?;
        text += &if ttl == 0 { format!(" {word}") } else { format!(" {word}/{ttl}") };
        at = data + length;
    }
    Ok(text)
}

fn past_name(message: &[u8], mut at: usize) -> Outcome<usize> {
    loop {
        match message.get(at).copied().ok_or("a short name")? {
            0 => return Ok(at + 1),
            192.. => return Ok(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

fn name_at(message: &[u8], mut at: usize) -> Outcome<String> {
    let mut labels = Vec::new();
    for _ in 0..64 {
        match usize::from(message.get(at).copied().ok_or("a short name")?) {
            0 => return Ok(labels.join(".")),
            first @ 192.. => at = (first & 63) << 8 | usize::from(message[at + 1]),
            length => {
                labels.push(String::from_utf8_lossy(&message[at + 1..at + 1 + length]).into_owned());
                at += length + 1;
            }
        }
    }
    Err("a name without an end".into())
}

fn socket(server: SocketAddr) -> Outcome<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Prints the answer for each name on a line of its own, or `none`. Over TCP all are asked at once on one connection.
fn ask(server: SocketAddr, protocol: &str, kind: &str, names: &[&str]) -> Outcome {
    let questions: Vec<Vec<u8>> =
        (1..).zip(names).map(|(id, name)| question(id, name, kind)).collect::<Outcome<_>>()?;
    if protocol == "udp" {
        for message in questions {
            let (socket, mut buffer) = (socket(server)?, [0; 65_535]);
            socket.send(&message)?;
            match socket.recv(&mut buffer) {
                Ok(length) => println!("{}", shown(&buffer[..length])?),
                Err(_) => println!("none"),
            }
        }
        return Ok(());
    }
    let Ok(mut stream) = TcpStream::connect_timeout(&server, PATIENCE) else {
        println!("none");
        return Ok(());
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let with_length = |message: &Vec<u8>| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    stream.write_all(&questions.iter().flat_map(with_length).collect::<Vec<u8>>())?;
    for _ in questions {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            println!("none");
            return Ok(());
        }
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer)?;
        println!("{}", shown(&answer)?);
    }
    Ok(())
}

/// What the C library finds.
fn find(name: &str) -> Outcome {
    let mut addresses: Vec<String> = (name, 0).to_socket_addrs()?.map(|address| address.ip().to_string()).collect();
    addresses.sort();
    addresses.dedup();
    println!("{}", addresses.join(" "));
    Ok(())
}

/// Asks `count` times for an address of `name` of the server's family, so many times each second, and prints how many of the questions
/// were answered with an address, how many otherwise, how many not, and the times in microseconds: the longest, that of
/// half of them, and that of 99 of 100.
///
/// It asks by several sockets: what is answered all at once after a pause must not be lost here.
fn many(server: SocketAddr, name: &str, count: u16, rate: u32) -> Outcome {
    let asking: Vec<UdpSocket> = (0..SOCKETS).map(|_| socket(server)).collect::<Outcome<_>>()?;
    let message = question(0, name, if server.is_ipv4() { "A" } else { "AAAA" })?;
    println!("ready");
    let began = Instant::now();
    let hearing: Vec<_> = asking.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>()?;
    let sender = thread::spawn(move || -> Vec<Instant> {
        let mut sent = Vec::with_capacity(usize::from(count));
        let mut message = message;
        for id in 0..count {
            let due = began + Duration::from_secs(1) * u32::from(id) / rate;
            sleep(due.saturating_duration_since(Instant::now()));
            message[..2].copy_from_slice(&id.to_be_bytes());
            sent.push(Instant::now());
            let _ = asking[usize::from(id) % SOCKETS].send(&message);
        }
        sent
    });
    let end = began + Duration::from_secs(1) * u32::from(count) / rate + PATIENCE;
    let hear = |(nth, socket): (usize, UdpSocket)| {
        let asked = (usize::from(count) + SOCKETS - 1 - nth) / SOCKETS;
        thread::spawn(move || heard_by(&socket, asked, end))
    };
    let mut heard: HashMap<u16, (Instant, bool)> = HashMap::new();
    for hearer in hearing.into_iter().enumerate().map(hear).collect::<Vec<_>>() {
        heard.extend(hearer.join().map_err(|_| "a hearer failed")?);
    }
    let sent = sender.join().map_err(|_| "the sender failed")?;
    let took = heard.iter().map(|(id, (at, _))| at.duration_since(sent[usize::from(*id)]).as_micros());
    let mut took: Vec<u128> = took.collect();
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(0);
    let right = heard.values().filter(|(_, is_right)| *is_right).count();
    let (wrong, lost) = (heard.len() - right, usize::from(count) - heard.len());
    println!("{right} {wrong} {lost} {} {} {}", at(100), at(50), at(99));
    Ok(())
}

/// When the first answer to each of the questions that were `asked` came, until `end`, and whether it had an address.
fn heard_by(socket: &UdpSocket, asked: usize, end: Instant) -> HashMap<u16, (Instant, bool)> {
    let (mut heard, mut buffer) = (HashMap::new(), [0; 4096]);
    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    while heard.len() < asked && Instant::now() < end {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        heard.entry(id).or_insert((Instant::now(), buffer[..length].get(7).is_some_and(|count| *count > 0)));
    }
    heard
}

/// Asks for an IPv4 address of `name` as fast as it is answered, and prints how many answers came.
fn rush(server: SocketAddr, name: &str, seconds: u64) -> Outcome {
    let asking: Vec<UdpSocket> = (0..SOCKETS).map(|_| socket(server)).collect::<Outcome<_>>()?;
    let message = question(1, name, "A")?;
    let (mut buffer, mut count) = ([0; 4096], 0u64);
    for socket in &asking {
        (0..4).try_for_each(|_| socket.send(&message).map(drop))?;
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    for socket in asking.iter().cycle().take_while(|_| Instant::now() < end) {
        socket.recv(&mut buffer)?;
        socket.send(&message)?;
        count += 1;
    }
    println!("{count}");
    Ok(())
}

/// Sends questions and what is none as fast as it can, and never listens.
fn flood(server: SocketAddr, seconds: u64) -> Outcome {
    let socket = socket(server)?;
    println!("ready");
    let messages = [question(1, "web", "A")?, vec![0; 600], question(2, "www.example.com", "A")?, vec![0xff; 12]];
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0u64;
    while Instant::now() < end {
        for message in messages.iter().cycle().take(64) {
            let _ = socket.send(message);
            count += 1;
        }
    }
    println!("{count}");
    Ok(())
}

/// Holds connections by each of which half a question came.
fn hold(server: SocketAddr, count: usize, seconds: u64) -> Outcome {
    let mut streams = Vec::new();
    for _ in 0..count {
        if let Ok(mut stream) = TcpStream::connect_timeout(&server, Duration::from_millis(200)) {
            let _ = stream.write_all(&[0, 30, 1]);
            streams.push(stream);
        }
    }
    println!("ready");
    sleep(Duration::from_secs(seconds));
    Ok(())
}

/// Sends bytes as they are, and prints the length and the code of what comes back, or `none`.
fn raw(server: SocketAddr, messages: &[&str]) -> Outcome {
    let socket = socket(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    for message in messages {
        let digits: Vec<char> = message.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
        socket.send(&digits.chunks(2).map(byte).collect::<Result<Vec<u8>, _>>()?)?;
        let mut buffer = [0; 4096];
        match socket.recv(&mut buffer) {
            Ok(length) => println!("{length} {}", buffer[3] & 15),
            Err(_) => println!("none"),
        }
    }
    Ok(())
}

/// Runs a program under a filter of system calls, by which one fails.
fn filtered(call: i64, errno: i32, program: &str, arguments: &[&str]) -> Outcome {
    let rules = [(call, Vec::new())].into_iter().collect();
    let (fails, passes) = (SeccompAction::Errno(errno.try_into()?), SeccompAction::Allow);
    let filter: BpfProgram = SeccompFilter::new(rules, passes, fails, env::consts::ARCH.try_into()?)?.try_into()?;
    apply_filter(&filter)?;
    Err(Command::new(program).args(arguments).exec().into())
}
