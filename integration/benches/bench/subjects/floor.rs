use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::Value;

use super::{Kind, Run, Subject};
use crate::fixture::run;
use crate::host::Container;

const BRIDGE: &str = "floor0";
const NETWORK: &str = "10.87";
const GATEWAY: &str = "10.87.0.1";

/// What all containers share.
const RULES: &str = r#"
table ip floor {
    map ports { type inet_service : ipv4_addr . inet_service; }
    chain prerouting { type nat hook prerouting priority -100; fib daddr type local dnat ip to tcp dport map @ports; }
    chain output { type nat hook output priority -100; fib daddr type local dnat ip to tcp dport map @ports; }
    chain postrouting { type nat hook postrouting priority 100; ip saddr 10.87.0.0/16 oifname != "floor0" masquerade; }
}
"#;

/// An empty process.
pub struct Nothing(PathBuf);

impl Nothing {
    pub fn new() -> Result<Self> {
        Ok(Self(ocinet_integration::helper("floor")?))
    }

    fn call(&self, run: Run<'_>) -> Result<()> {
        run(Command::new(&self.0).arg("nothing"), "").map(drop)
    }
}

impl Subject for Nothing {
    fn name(&self) -> &'static str {
        Kind::Nothing.name()
    }

    fn attaches(&self) -> bool {
        false
    }

    fn attach(&self, _: &Container, run: Run<'_>) -> Result<Value> {
        self.call(run).map(|()| Value::Null)
    }

    fn detach(&self, _: &Container, _: &Value, run: Run<'_>) -> Result<()> {
        self.call(run)
    }
}

/// The program `floor`, on a host with a bridge and rules.
pub struct Floor {
    name: &'static str,
    program: PathBuf,
    /// How a detach ends: `shut` or `delete`.
    end: &'static str,
    /// The netfilter socket that its processes use, which stays open when they end.
    socket: Mutex<Option<OwnedFd>>,
}

impl Floor {
    pub fn new(name: &'static str, end: &'static str) -> Result<Self> {
        Ok(Self { name, program: ocinet_integration::helper("floor")?, end, socket: Mutex::default() })
    }

    /// The command with what both ways need.
    fn command(&self, way: &str, container: &Container) -> Result<Command> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().context("no socket")?.as_raw_fd().to_string();
        let (first, count) = (container.ports.first.to_string(), container.ports.count.to_string());
        let mut command = Command::new(&self.program);
        command.args([way, &socket, &first, &count, &container.address(NETWORK), &format!("floor-{}", container.id())]);
        Ok(command)
    }
}

impl Subject for Floor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self) -> Result<()> {
        for line in ["link add floor0 type bridge", "address add 10.87.0.1/16 dev floor0", "link set floor0 up"] {
            run(Command::new("ip").args(line.split(' ')), "")?;
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("ip_forward")?;
        run(Command::new("nft").args(["-f", "-"]), RULES)?;
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkNetFilter);
        let opened = socket(family, SockType::Raw, SockFlag::empty(), protocol).context("a netfilter socket")?;
        fcntl(opened.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    fn namespace_ends_first(&self) -> bool {
        self.end == "shut"
    }

    fn attach(&self, container: &Container, run: Run<'_>) -> Result<Value> {
        let mut command = self.command("attach", container)?;
        run(command.args([BRIDGE, &container.pid()?.to_string(), GATEWAY]), "").map(|_| Value::Null)
    }

    fn detach(&self, container: &Container, _: &Value, run: Run<'_>) -> Result<()> {
        run(&mut self.command(self.end, container)?, "").map(drop)
    }
}
