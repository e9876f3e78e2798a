//! The least that the kernel needs to attach a container with published ports and to detach it: the bound of what a
//! hook can reach. One process, which looks at nothing, stores nothing and checks nothing.
//!
//! Attach: a veth pair, its end in the container with an address and a default route, the host's end a port of the
//! bridge and up, and an element of a map for each published port. Detach: the elements gone, and the host's end down;
//! or deleted, as programs do that are called while the container's namespace lives.

mod netlink;

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};

use netlink::{Message, NESTED, Netlink, batch, element};

const USAGE: &str = "usage: floor nothing
       floor attach SOCKET FIRST COUNT ADDRESS LINK BRIDGE PID GATEWAY
       floor shut|delete SOCKET FIRST COUNT ADDRESS LINK";

/// The interface in the container.
const INSIDE: &str = "eth0";

/// `VETH_INFO_PEER` (linux/veth.h).
const PEER: u16 = 1;

/// `struct ifinfomsg`: the index, and the flags to set.
fn link(kind: u16, flags: u16, index: u32, up: Option<bool>) -> Message {
    Message::new(kind, flags).bytes(&interface(index, up))
}

fn interface(index: u32, up: Option<bool>) -> Vec<u8> {
    const UP: u32 = 1; // IFF_UP
    let (set, mask) = (up.map_or(0, |up| u32::from(up) * UP), up.map_or(0, |_| UP));
    [[0; 4], index.to_ne_bytes(), set.to_ne_bytes(), mask.to_ne_bytes()].concat()
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["nothing"] => Ok(()),
        ["attach", ref ports @ .., name, bridge, pid, gateway] => {
            let ports = Ports::of(ports)?;
            connect(name, bridge, pid)?;
            inside(pid, ports.address, gateway.parse()?)?;
            ports.change(true)
        }
        [way @ ("shut" | "delete"), ref ports @ .., name] => {
            Ports::of(ports)?.change(false)?;
            disconnect(way, name).with_context(|| format!("{way} {name}"))
        }
        _ => bail!(USAGE),
    }
}

/// Makes the pair. The peer is born in the container's namespace; it cannot be up before it has its other end.
fn connect(name: &str, bridge: &str, pid: &str) -> Result<()> {
    use nix::libc::{IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_NET_NS_PID};
    let master = if_nametoindex(bridge).with_context(|| format!("bridge {bridge}"))?;
    let pid: u32 = pid.parse()?;
    let message = link(nix::libc::RTM_NEWLINK, netlink::CREATE, 0, Some(true))
        .text(IFLA_IFNAME, name)
        .attribute(IFLA_MASTER, &master.to_ne_bytes())
        .nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    let peer = peer.bytes(&interface(0, None)).text(IFLA_IFNAME, INSIDE);
                    peer.attribute(IFLA_NET_NS_PID, &pid.to_ne_bytes())
                })
            })
        });
    Netlink::route()?.request(&[message]).with_context(|| format!("the pair of {name}"))
}

/// Sets the host's end down or deletes it. It may have gone with the container's namespace.
fn disconnect(way: &str, name: &str) -> Result<()> {
    let Ok(index) = if_nametoindex(name) else { return Ok(()) };
    let message = match way {
        "shut" => link(nix::libc::RTM_NEWLINK, 0, index, Some(false)),
        _ => link(nix::libc::RTM_DELLINK, 0, index, None),
    };
    match Netlink::route()?.request(&[message]) {
        Err(error) if error.downcast_ref() == Some(&Errno::ENODEV) => Ok(()),
        result => result,
    }
}

/// The address and the default route, from inside the container's namespace. This process stays there: what follows
/// goes through a socket that belongs to the host's.
fn inside(pid: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<()> {
    use nix::libc::{
        AF_INET, IFA_ADDRESS, IFA_LOCAL, RT_SCOPE_UNIVERSE, RT_TABLE_MAIN, RTA_GATEWAY, RTM_NEWADDR, RTM_NEWROUTE,
        RTN_UNICAST, RTPROT_STATIC,
    };
    let namespace = File::open(format!("/proc/{pid}/ns/net")).with_context(|| format!("the namespace of {pid}"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("setns")?;
    let (eth0, lo) = (if_nametoindex(INSIDE)?, 1);
    let family = AF_INET as u8;
    // struct ifaddrmsg, struct rtmsg.
    let to = [&[family, 16, 0, 0][..], &eth0.to_ne_bytes()].concat();
    let default = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0, 0, 0, 0];
    Netlink::route()?
        .request(&[
            link(nix::libc::RTM_NEWLINK, 0, lo, Some(true)),
            link(nix::libc::RTM_NEWLINK, 0, eth0, Some(true)),
            Message::new(RTM_NEWADDR, netlink::CREATE)
                .bytes(&to)
                .attribute(IFA_LOCAL, &address.octets())
                .attribute(IFA_ADDRESS, &address.octets()),
            Message::new(RTM_NEWROUTE, netlink::CREATE).bytes(&default).attribute(RTA_GATEWAY, &gateway.octets()),
        ])
        .context("address and route")
}

/// The published ports: every other one from the first.
struct Ports {
    /// A netfilter socket of the host, by its number. The caller has it open too: to close the last one after elements
    /// were deleted waits for the kernel, which ocinet leaves to a process in the background.
    socket: i32,
    ports: Vec<u16>,
    address: Ipv4Addr,
}

impl Ports {
    fn of(words: &[&str]) -> Result<Self> {
        let [socket, first, count, address] = words[..] else { bail!(USAGE) };
        let (first, count): (u16, u16) = (first.parse()?, count.parse()?);
        Ok(Self {
            socket: socket.parse()?,
            ports: (0..count).map(|number| first + 2 * number).collect(),
            address: address.parse()?,
        })
    }

    /// Adds or deletes the elements, 500 in each message: an attribute's length has 16 bits.
    fn change(&self, add: bool) -> Result<()> {
        let target = |address: &Ipv4Addr| [&address.octets()[..], &80_u16.to_be_bytes(), &[0; 2]].concat();
        let data = add.then(|| target(&self.address));
        let messages = self.ports.chunks(500).map(|ports| {
            element(add, "floor", "ports", |list| {
                ports.iter().fold(list, |list, port| {
                    list.nest(1 | NESTED, |entry| netlink::pair(entry, &port.to_be_bytes(), data.as_deref()))
                })
            })
        });
        if self.ports.is_empty() {
            return Ok(());
        }
        Netlink::lent(self.socket.as_raw_fd()).send(&batch(messages)).context("elements")
    }
}
