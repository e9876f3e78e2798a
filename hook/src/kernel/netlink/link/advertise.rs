//! Tells the other hosts on a bridge the MAC of an address of IPv6.
//!
//! A host that remembers another MAC for the address, since another container had it, would send there until its entry
//! has ended: 30 seconds and more, and then five until it asks anew (RFC 4861, section 10). An advertisement that was
//! not asked for has it learn the new one (section 7.2.6).
//!
//! The host sends it by the bridge, before the container's end is up: the ports of the others are ready then, while the
//! container's own is not yet when the container could send first. A container that is up would log that another host
//! has its address (`ndisc_recv_na`, net/ipv6/ndisc.c).

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::model::Mac;

/// An Ethernet header, an IPv6 header, the message, and its option with the MAC.
const LENGTH: usize = ETHERNET + 40 + MESSAGE;
const ETHERNET: usize = 14;
const MESSAGE: usize = 32;

/// All hosts on a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// ICMPv6 (IANA).
const ICMPV6: u8 = 58;

/// Sends by the link `index` that the hosts on it reach each of `addresses` at `mac`.
pub(super) fn advertise(index: u32, mac: Mac, addresses: &[Ipv6Addr]) -> io::Result<()> {
    let socket = packet_socket()?;
    addresses.iter().try_for_each(|address| send(&socket, index, &frame(*address, mac)))
}

#[allow(unsafe_code)]
fn packet_socket() -> io::Result<OwnedFd> {
    // Of protocol 0, it receives nothing.
    // SAFETY: socket(2) takes no pointers; the returned descriptor has no other owner.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        Ok(Errno::result(fd).map(|fd| OwnedFd::from_raw_fd(fd))?)
    }
}

#[allow(unsafe_code)]
fn send(socket: &OwnedFd, index: u32, frame: &[u8]) -> io::Result<()> {
    // SAFETY: zeros are a value of this plain structure.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_protocol = (libc::ETH_P_IPV6 as u16).to_be();
    to.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let size = size_of_val(&to) as libc::socklen_t;
    // SAFETY: the kernel reads as many bytes of both as are said here.
    let sent = unsafe {
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const to).cast(), size)
    };
    Errno::result(sent).map(drop).map_err(io::Error::from)
}

/// The advertisement (RFC 4861, section 4.4), in a frame to all hosts.
fn frame(address: Ipv6Addr, mac: Mac) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    let ip = &mut frame[ETHERNET..];
    ip[0] = 0x60;
    ip[4..8].copy_from_slice(&[0, MESSAGE as u8, ICMPV6, 255]);
    ip[8..24].copy_from_slice(&address.octets());
    ip[24..40].copy_from_slice(&ALL_NODES.octets());
    let message = &mut ip[40..];
    // Its type, and that it overrides what is remembered.
    (message[0], message[4]) = (136, 0x20);
    message[8..24].copy_from_slice(&address.octets());
    message[24..26].copy_from_slice(&[2, 1]);
    message[26..].copy_from_slice(&mac.0);
    let sum = checksum(&frame[ETHERNET + 8..]);
    frame[ETHERNET + 42..ETHERNET + 44].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The checksum of a message, of which the addresses before it are a part (RFC 8200, section 8.1).
fn checksum(addresses_and_message: &[u8]) -> u16 {
    let words = addresses_and_message.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>() + MESSAGE as u32 + u32::from(ICMPV6);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_its_checksum_sums_up_to_nothing() {
        let mac = Mac([0x02, 0x0c, 0x0a, 0x40, 0x07, 0x02]);
        let frame = frame("fd00:7::a40:702".parse().unwrap(), mac);
        assert_eq!(checksum(&frame[ETHERNET + 8..]), 0);
        assert_ne!(frame[ETHERNET + 42..ETHERNET + 44], [0, 0]);
    }
}
