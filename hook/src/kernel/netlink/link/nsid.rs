//! The ids of other network namespaces in the host's (`ip netns list-id`, ip-netns(8)).
//!
//! The kernel gives an id to a namespace that has a link in common with the host's, or for which one is requested, and
//! deletes it when the namespace ends. So every process of the host can see whether a namespace lives, whatever its own
//! pid and mount namespaces and rights are. The kernel takes the smallest free number, which is soon reused for another
//! namespace. So ocinet requests an id derived from the cookie, which is never reused.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;

use super::{HostLinks, errno};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::Netns;

/// The first of our ids, far above those that the kernel chooses.
const FIRST: i32 = 1 << 30;

impl HostLinks {
    /// Checks that this process may change the network of its namespace. It sends a request that names nothing to
    /// change; the kernel checks the right of the sender first (`rtnetlink_rcv_msg`, net/core/rtnetlink.c).
    ///
    /// # Errors
    /// When it may not.
    pub fn permitted(&mut self) -> Result<()> {
        let nothing = RouteNetlinkMessage::NewNsId(NsidMessage::default());
        match self.netlink.request(nothing, 0) {
            Err(error) if errno(&error) == Errno::EPERM => Err(not_permitted(error)),
            _ => Ok(()),
        }
    }

    /// Gives `namespace`, whose cookie is `cookie`, an id in the host's namespace. An existing id stays.
    ///
    /// # Errors
    /// When this process may not change the network of its namespace, or the kernel has no memory.
    pub fn identify(&mut self, namespace: &Netns, cookie: u64) -> Result<Option<i32>> {
        let mut wanted = question(namespace);
        wanted.attributes.push(NsidAttribute::Id(nsid_of(cookie)));
        match self.netlink.request(RouteNetlinkMessage::NewNsId(wanted), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(_) => Ok(Some(nsid_of(cookie))),
            Err(error) if errno(&error) == Errno::EEXIST => self.nsid(namespace),
            Err(error) if errno(&error) == Errno::EPERM => Err(not_permitted(error)),
            Err(error) => Err(Error::refused("give the container's network namespace an id", error)),
        }
    }

    /// The id of `namespace` in the host's namespace; none if it has none.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn nsid(&mut self, namespace: &Netns) -> Result<Option<i32>> {
        let answers = self.netlink.request(RouteNetlinkMessage::GetNsId(question(namespace)), 0);
        let answers = answers.doing(|| "ask for the id of a network namespace".into())?;
        let attributes = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNsId(message) => Some(message.attributes),
            _ => None,
        });
        Ok(attributes.flatten().find_map(|attribute| match attribute {
            NsidAttribute::Id(nsid) if nsid >= 0 => Some(nsid),
            _ => None,
        }))
    }

    /// Whether the host's namespace has the id `nsid` for a namespace that still exists.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_nsid(&mut self, nsid: i32) -> Result<bool> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Id(nsid));
        match self.netlink.request(RouteNetlinkMessage::GetNsId(question), 0) {
            Ok(_) => Ok(true),
            // `rtnl_net_getid`, net/core/net_namespace.c.
            Err(error) if errno(&error) == Errno::ENOENT => Ok(false),
            Err(error) => Err(Error::refused(format!("ask for the network namespace of id {nsid}"), error)),
        }
    }
}

/// Whether an id was derived from a cookie, so that no other namespace gets it.
pub fn is_lasting(nsid: i32) -> bool {
    nsid >= FIRST
}

fn question(namespace: &Netns) -> NsidMessage {
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Fd(namespace.as_fd().as_raw_fd().cast_unsigned()));
    message
}

/// Cookies are counted from 1 (`gen_cookie_next`, include/linux/cookie.h), so no two cookies of one boot give the same
/// id.
fn nsid_of(cookie: u64) -> i32 {
    let low = i32::try_from(cookie % (FIRST as u64)).expect("a remainder below 2^30");
    FIRST + low
}

fn not_permitted(error: std::io::Error) -> Error {
    Error::refused("change the host's network", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_those_that_the_kernel_chooses() {
        assert_eq!(nsid_of(1), (1 << 30) + 1);
        assert!(nsid_of(u64::MAX) >= FIRST && nsid_of((1 << 30) - 1) == i32::MAX);
    }
}
