//! Clients and servers in a place: the packets of a story.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};

use crate::{Background, Output, Place};

/// `probe`, on a private host and in every container.
pub(crate) const PROBE: &str = "/mnt/bin/probe";

/// How long an expected answer may take, in milliseconds.
const PATIENCE: &str = "5000";

/// How long to wait for an answer that must not come, in milliseconds. Each such wait stands beside one that succeeds.
const DISTRUST: &str = "350";

/// A transport protocol the tests send packets over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Proto {
    /// One HTTP request.
    Tcp,
    /// One datagram and its answer.
    Udp,
}

impl Proto {
    /// Every protocol.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Its name, as in a published port.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The answer of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The address it sees the client at.
    pub client: IpAddr,
}

impl Answer {
    /// `self` if it came from the server called `name`.
    pub fn is(self, name: &str) -> Result<Self> {
        ensure!(self.name == name, "{} answered instead of {name}", self.name);
        Ok(self)
    }

    /// `self` if the server saw the client at `address`.
    pub fn seen_from(self, address: impl ToString) -> Result<Self> {
        let expected: IpAddr = address.to_string().parse()?;
        ensure!(self.client == expected, "{} saw its client at {}, not at {expected}", self.name, self.client);
        Ok(self)
    }
}

impl FromStr for Answer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, client) = text.trim().split_once(' ').with_context(|| format!("{text:?} is no answer"))?;
        Ok(Self { name: name.to_owned(), client: client.parse()? })
    }
}

impl Place {
    /// The answer of the server at `address`. An error if none comes.
    pub fn reaches(&self, proto: Proto, address: impl ToString) -> Result<Answer> {
        self.ask(proto, &address.to_string(), PATIENCE)?.success()?.parse()
    }

    /// Makes sure that no answer comes from `address`. Such a test needs another one that shows that an answer is
    /// possible.
    pub fn cannot_reach(&self, proto: Proto, address: impl ToString) -> Result<()> {
        let address = address.to_string();
        let output = self.ask(proto, &address, DISTRUST)?;
        ensure!(output.code != 0, "{} {address} must not answer, but did:\n{output}", proto.name());
        Ok(())
    }

    /// Whether the server called `name` answers at `address` within a short wait.
    pub fn hears(&self, proto: Proto, address: impl ToString, name: &str) -> Result<bool> {
        let output = self.ask(proto, &address.to_string(), DISTRUST)?;
        Ok(output.code == 0 && output.stdout.parse::<Answer>()?.name == name)
    }

    /// The answer of the server at `address` over a connection into which packets outside its windows were sent.
    pub fn strays(&self, address: &str) -> Result<Answer> {
        self.output(&[PROBE, "stray", address])?.success()?.parse()
    }

    /// Answers every question for an IPv4 address at port 53 of `own` with `answer`, and others with no data.
    pub fn name_server(&self, own: &str, answer: &str) -> Result<Background> {
        self.ready(&[PROBE, "name-server", &format!("{own}:53"), answer])
    }

    /// A server at one address that answers over UDP, until dropped.
    pub fn serve_at(&self, name: &str, address: &str) -> Result<Background> {
        self.ready(&[PROBE, "serve-at", name, address])
    }

    /// A server on `ports` (`80`, `9000-9010`) with the name `name`, until dropped.
    pub fn serve(&self, name: &str, ports: &[&str]) -> Result<Background> {
        self.ready(&[&[PROBE, "serve", name], ports].concat())
    }

    /// A process that listens at `address` and never answers, until dropped.
    pub fn listen(&self, proto: Proto, address: &str) -> Result<Background> {
        self.ready(&[PROBE, "listen", proto.name(), address])
    }

    /// A client that keeps sending datagrams to `address` from one port, until dropped.
    pub fn keep_asking(&self, address: &str, source_port: u16) -> Result<Watch> {
        Ok(Watch(self.background(&[PROBE, "keep-asking", address, &source_port.to_string()])?))
    }

    /// A client that is connected to `address` from one port and keeps sending, until dropped.
    pub fn hold(&self, proto: Proto, address: &str, source_port: u16) -> Result<Background> {
        self.ready(&[PROBE, "hold", proto.name(), address, &source_port.to_string()])
    }

    /// Sends a datagram to each port from 1 to `count` of `address`, so that conntrack remembers a flow for each.
    pub fn flood(&self, address: &str, count: u16) -> Result<()> {
        self.output(&[PROBE, "flood", address, &count.to_string()])?.success().map(drop)
    }

    /// A client that makes 100 connections a second to `address` for so many seconds.
    pub fn knock(&self, address: &str, seconds: u32) -> Result<Knocking> {
        Ok(Knocking(self.background(&[PROBE, "knock", address, &seconds.to_string()])?))
    }

    fn ask(&self, proto: Proto, address: &str, patience: &str) -> Result<Output> {
        self.output(&[PROBE, "ask", proto.name(), address, patience])
    }

    fn ready(&self, argv: &[&str]) -> Result<Background> {
        let mut server = self.background(argv)?;
        ensure!(server.line()? == "ready", "{argv:?} did not get ready");
        Ok(server)
    }
}

/// The answers to a client that asks continuously.
#[derive(Debug)]
pub struct Watch(Background);

impl Watch {
    /// Waits until the server called `name` answers; with `-`, until no answer comes.
    pub fn hears(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut last = String::new();
        while Instant::now() < deadline {
            last = self.0.line()?.parse::<Answer>()?.name;
            if last == name {
                return Ok(());
            }
        }
        bail!("the client never heard {name}, but {last:?}")
    }

    /// Makes sure that the server called `name` does not answer for 400 milliseconds.
    pub fn never_hears(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(400);
        while Instant::now() < deadline {
            let heard = self.0.line()?.parse::<Answer>()?.name;
            ensure!(heard != name, "the client heard {name}");
        }
        Ok(())
    }
}

/// A client that makes 100 connections a second.
#[derive(Debug)]
pub struct Knocking(Background);

impl Knocking {
    /// Waits for its end: how many connections it made, how many of them had no answer, and for how long at most none
    /// that began had one.
    pub fn end(mut self) -> Result<(usize, usize, Duration)> {
        let line = self.0.line()?;
        let words: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [made, lost, longest] = words[..] else { bail!("{line:?} is no result") };
        Ok((made.try_into()?, lost.try_into()?, Duration::from_millis(longest)))
    }

    /// Whether it has come to its end.
    pub fn has_ended(&self) -> Result<bool> {
        self.0.has_said()
    }
}
