//! The client and the server of the traffic tests: one static program that runs in any root file system.
//!
//! A server answers over TCP (as a web server) and UDP with its name and the client's address as it sees it. So one
//! answer shows both where a packet went and whether it was masqueraded.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, SockaddrStorage, bind, connect,
    listen as listen_on, sendto, setsockopt, socket, sockopt,
};

const USAGE: &str = "usage: probe serve NAME PORT[-PORT]...
       probe serve-at NAME ADDRESS:PORT
       probe name-server ADDRESS:PORT ANSWER
       probe advertise INTERFACE
       probe stray ADDRESS:PORT
       probe tagged INTERFACE MAC ADDRESS VLAN
       probe listen tcp|udp ADDRESS:PORT
       probe ask tcp|udp ADDRESS:PORT MILLISECONDS
       probe keep-asking ADDRESS:PORT SOURCE-PORT
       probe hold tcp|udp ADDRESS:PORT SOURCE-PORT
       probe flood ADDRESS COUNT
       probe knock ADDRESS:PORT SECONDS";

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name, ref ports @ ..] => serve(name, ports),
        ["serve-at", name, address] => serve_at(name, address.parse()?),
        ["name-server", address, answer] => name_server(address.parse()?, answer.parse()?),
        ["advertise", interface] => advertise(interface),
        ["stray", address] => stray(address.parse()?),
        ["tagged", interface, mac, address, vlan] => tagged(interface, mac, address.parse()?, vlan.parse()?),
        ["listen", protocol, address] => listen(protocol, address.parse()?),
        ["ask", protocol, address, patience] => {
            println!("{}", ask(protocol, address.parse()?, Duration::from_millis(patience.parse()?))?);
            Ok(())
        }
        ["keep-asking", address, port] => keep_asking(address.parse()?, port.parse()?),
        ["hold", protocol, address, port] => hold(protocol, address.parse()?, port.parse()?),
        ["flood", address, count] => flood(address.parse()?, count.parse()?),
        ["knock", address, seconds] => knock(address.parse()?, seconds.parse()?),
        _ => Err(USAGE.into()),
    }
}

/// Answers on every port, over TCP and UDP, for ever.
fn serve(name: &str, ranges: &[&str]) -> Outcome {
    for range in ranges {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for port in first.parse::<u16>()?..=last.parse()? {
            serve_on(name, TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?, UdpSocket::bind(("0.0.0.0", port))?);
            // A kernel without IPv6 has no such sockets.
            if let (Ok(tcp), Ok(udp)) = (only_v6(SockType::Stream, port), only_v6(SockType::Datagram, port)) {
                serve_on(name, tcp.into(), udp.into());
            }
        }
    }
    ready()
}

fn serve_on(name: &str, tcp: TcpListener, udp: UdpSocket) {
    let (for_tcp, for_udp) = (name.to_owned(), name.to_owned());
    thread::spawn(move || serve_tcp(&for_tcp, &tcp));
    thread::spawn(move || serve_udp(&for_udp, &udp));
}

/// A server's socket for IPv6 alone.
fn only_v6(kind: SockType, port: u16) -> Outcome<OwnedFd> {
    let server = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&server, sockopt::Ipv6V6Only, &true)?;
    setsockopt(&server, sockopt::ReuseAddr, &true)?;
    bind(server.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0)))?;
    if kind == SockType::Stream {
        listen_on(&server, Backlog::new(128)?)?;
    }
    Ok(server)
}

/// Answers over UDP at one address, for ever.
fn serve_at(name: &str, address: SocketAddr) -> Outcome {
    let (name, socket) = (name.to_owned(), UdpSocket::bind(address)?);
    thread::spawn(move || serve_udp(&name, &socket));
    ready()
}

/// A name server that has one answer for all questions of type A, and no data for others (RFC 1035, section 4.1), over
/// UDP and TCP. For names whose first label is `late` it takes two seconds.
fn name_server(address: SocketAddr, answer: Ipv4Addr) -> Outcome {
    let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
    let reply = move |question: &[u8]| {
        if question[12..].starts_with(b"\x04late") {
            thread::sleep(Duration::from_secs(2));
        }
        let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap_or_default() + 5;
        let is_a = question[end - 4..end - 2] == [0, 1];
        let head = [&question[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]].concat();
        let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4][..], &answer.octets()].concat();
        [&head[..], &question[12..end], if is_a { &record } else { &[] }].concat()
    };
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&reply(&buffer[..length]), client);
        }
    });
    thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut question).is_err() {
                    break;
                }
                let answer = reply(&question);
                let length = (answer.len() as u16).to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        }
    });
    ready()
}

/// Sends a router advertisement to all hosts on the link: this host is their router, and this their prefix (RFC 4861,
/// section 4.2).
fn advertise(interface: &str) -> Outcome {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let header = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let prefix = [3, 4, 64, 0xc0, 0, 0, 0x07, 0x08, 0, 0, 0x07, 0x08, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8];
    let mut message = [&header[..], &prefix].concat();
    message.resize(16 + 32, 0);
    let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::IcmpV6)?;
    // Receivers accept only a hop limit of 255: no router has forwarded the packet.
    setsockopt(&raw, sockopt::Ipv6MulticastHops, &255)?;
    let scope = if_nametoindex(interface)?;
    let everybody = SockaddrIn6::from(SocketAddrV6::new(ALL_NODES, 0, 0, scope));
    sendto(raw.as_raw_fd(), &message, &everybody, MsgFlags::empty())?;
    Ok(())
}

/// Sends packets into a connection that are outside its windows, and then asks over the same connection.
fn stray(server: SocketAddr) -> Outcome {
    const FAR: [u32; 2] = [0x2000_0000, 0xa000_0000];
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let client = stream.local_addr()?;
    let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Tcp)?;
    // The windows are not known here. Of two numbers that are opposite, one is outside.
    for (sequence, acknowledged) in
        FAR.into_iter().flat_map(|sequence| FAR.map(|acknowledged| (sequence, acknowledged)))
    {
        let segment = acknowledgement(client, server, sequence, acknowledged);
        // A raw socket has no port.
        let to = SockaddrStorage::from(SocketAddr::new(server.ip(), 0));
        sendto(raw.as_raw_fd(), &segment, &to, MsgFlags::empty())?;
    }
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    println!("{}", response.rsplit("\r\n").next().unwrap_or_default());
    Ok(())
}

/// A segment without data (RFC 9293, section 3.1).
fn acknowledgement(client: SocketAddr, server: SocketAddr, sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut segment = [client.port().to_be_bytes(), server.port().to_be_bytes()].concat();
    segment.extend([sequence.to_be_bytes(), acknowledged.to_be_bytes()].concat());
    segment.extend([5 << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    // That of IPv6 has longer numbers in it, of which the sum is the same (RFC 8200, section 8.1).
    let pseudo = [octets(client), octets(server), vec![0, 6, 0, 20]].concat();
    let sum: u32 =
        pseudo.iter().chain(&segment).enumerate().map(|(at, byte)| u32::from(*byte) << (8 * (1 - at % 2))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    segment[16..18].copy_from_slice(&(!u16::try_from(folded).unwrap_or_default()).to_be_bytes());
    segment
}

/// Broadcasts an ARP question for an address on a VLAN (IEEE 802.1Q, RFC 826).
fn tagged(interface: &str, mac: &str, address: Ipv4Addr, vlan: u16) -> Outcome {
    let mac = mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    let tag = [[0x81, 0], vlan.to_be_bytes(), [0x08, 0x06]].concat();
    let question = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac, &address.octets(), &[0; 6], &address.octets()].concat();
    let frame = [&[0xff; 6][..], &mac, &tag, &question].concat();
    let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None)?;
    let mut links = getifaddrs()?.filter(|link| link.interface_name == interface).filter_map(|link| link.address);
    let link = links.find(|address| address.as_link_addr().is_some()).ok_or("no such interface")?;
    sendto(raw.as_raw_fd(), &frame, &link, MsgFlags::empty())?;
    Ok(())
}

/// Listens on a port and never answers.
fn listen(protocol: &str, address: SocketAddr) -> Outcome {
    let _held: Box<dyn Send> = match protocol {
        "udp" => Box::new(UdpSocket::bind(address)?),
        _ => Box::new(TcpListener::bind(address)?),
    };
    ready()
}

/// Prints that the ports are open, and waits for ever.
fn ready() -> Outcome {
    println!("ready");
    io::stdout().flush()?;
    loop {
        thread::park();
    }
}

fn serve_tcp(name: &str, socket: &TcpListener) {
    for stream in socket.incoming().flatten() {
        // A client that disconnects early is no error of the server.
        let _ = answer_http(name, stream);
    }
}

fn answer_http(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let (mut request, mut bytes) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes)? {
            0 => break,
            count => request.extend_from_slice(&bytes[..count]),
        }
    }
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n{name} {}", stream.peer_addr()?.ip())
}

fn serve_udp(name: &str, socket: &UdpSocket) {
    let mut bytes = [0; 512];
    loop {
        if let Ok((_, client)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(format!("{name} {}", client.ip()).as_bytes(), client);
        }
    }
}

/// Asks until an answer comes or `patience` is over.
fn ask(protocol: &str, server: SocketAddr, patience: Duration) -> Outcome<String> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = match protocol {
            "udp" => ask_udp(server),
            _ => ask_tcp(server, left.max(Duration::from_millis(1))).map_err(Into::into),
        };
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => return Err(format!("{protocol} {server}: {error}").into()),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn ask_tcp(server: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (_, body) = response.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(body.to_owned())
}

fn ask_udp(server: SocketAddr) -> Outcome<String> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, unused_port()?))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    socket.connect(server)?;
    socket.send(b"who are you?")?;
    Ok(receive(&socket)?)
}

/// A port that no request of this namespace has used for most of a minute. The kernel chooses any free port. Once in
/// some hundred times that is a port of a flow that conntrack still remembers, for 30 seconds, and the packets would go
/// where that flow went.
fn unused_port() -> Outcome<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (first, last) = range.trim().split_once('\t').ok_or("no range of ports")?;
    let (first, last) = (first.parse::<u16>()?, last.parse::<u16>()?);
    let ticks = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() / 2;
    let ports = u128::from(last - first) + 1;
    Ok(first + u16::try_from(ticks % ports)?)
}

/// Every address of the family of `server`.
fn any_as(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Asks from one port every 20 milliseconds, for ever. Prints each answer, or `-` where none came.
fn keep_asking(server: SocketAddr, port: u16) -> Outcome {
    let socket = UdpSocket::bind((any_as(server), port))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    loop {
        let sent = socket.send_to(b"who are you?", server);
        let answer = sent.and_then(|_| receive(&socket)).unwrap_or_else(|_| "- 0.0.0.0".to_owned());
        println!("{answer}");
        io::stdout().flush()?;
        thread::sleep(Duration::from_millis(20));
    }
}

/// Connects from one port, and keeps sending on that connection for as long as it lives.
fn hold(protocol: &str, server: SocketAddr, port: u16) -> Outcome {
    let mut connection: Box<dyn Write> = if protocol == "udp" {
        let socket = UdpSocket::bind((any_as(server), port))?;
        socket.connect(server)?;
        Box::new(Datagrams(socket))
    } else {
        let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let socket = socket(family, SockType::Stream, SockFlag::empty(), None)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((any_as(server), port))))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
        Box::new(TcpStream::from(socket))
    };
    println!("ready");
    io::stdout().flush()?;
    // What the other end does with the data does not matter.
    while connection.write_all(b"x").is_ok() || protocol == "udp" {
        thread::sleep(Duration::from_millis(20));
    }
    loop {
        thread::park();
    }
}

/// Each write is a datagram.
struct Datagrams(UdpSocket);

impl Write for Datagrams {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends a datagram to each of `count` ports, so that conntrack remembers a flow for each.
fn flood(address: Ipv4Addr, count: u16) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    for port in 1..=count {
        socket.send_to(b"x", (address, port))?;
    }
    Ok(())
}

/// Makes 100 connections a second, each with a request of its own. Prints how many, how many of them had no answer within
/// 900 ms, and the longest time in milliseconds in which none that began was answered.
fn knock(server: SocketAddr, seconds: u32) -> Outcome {
    const BETWEEN: Duration = Duration::from_millis(10);
    // A segment that is lost comes again after a second (RFC 6298, section 2.1), which must not hide the loss.
    const PATIENCE: Duration = Duration::from_millis(900);
    let begin = Instant::now();
    let asking: Vec<_> = (0..seconds * 100)
        .map(|nth| {
            thread::sleep((BETWEEN * nth).saturating_sub(begin.elapsed()));
            let began = begin.elapsed();
            thread::spawn(move || (began, ask_tcp(server, PATIENCE).is_ok()))
        })
        .collect();
    let asked: Vec<(Duration, bool)> = asking.into_iter().filter_map(|thread| thread.join().ok()).collect();
    let (mut longest, mut since) = (Duration::ZERO, None);
    for (began, answered) in &asked {
        if *answered {
            longest = since.take().map_or(longest, |since| longest.max(*began - since));
        } else {
            since.get_or_insert(*began);
        }
    }
    let last = asked.last().map_or(Duration::ZERO, |(began, _)| *began);
    longest = since.map_or(longest, |since| longest.max(last - since));
    let lost = asked.iter().filter(|(_, answered)| !answered).count();
    println!("{} {lost} {}", asked.len(), longest.as_millis());
    Ok(())
}

fn receive(socket: &UdpSocket) -> io::Result<String> {
    let mut bytes = [0; 512];
    let count = socket.recv(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}
