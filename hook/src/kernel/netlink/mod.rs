//! Requests over netlink: links, addresses, routes, guards, flows, listeners.

mod conntrack;
mod inbox;
mod link;
mod listeners;
mod socket;

pub use conntrack::Flows;
pub use link::{Connected, HostLinks, NO_GUARD, NO_REDIRECT, OurLink, Traffic, Trial, Uplink, is_lasting, try_links};
pub use listeners::Listeners;

pub(in crate::kernel) use link::{
    address_message, address_on, destination, entry, errno, is_up, new_link, new_route, no_own_ipv6, output_interface,
    permanent, question,
};
pub(in crate::kernel) use socket::Netlink;
