//! The input loop: the link pair by which the host's own input rules are asked about published ports.
//!
//! Whether it is there is [`InputLoop`]; what it is made of is said here once, for the rules that name its links, for
//! the kernel and for what is printed.

use ipnet::Ipv4Net;

use crate::driver::Setting;
use crate::model::Mac;

/// Whether the host's own input rules are asked about published ports, and by which link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InputLoop {
    /// They are not asked: packets are translated at once.
    #[default]
    Unused,
    /// They are asked, and the link pair is not there, or not done. It is made before rules are loaded, which name it.
    ToBeMade,
    /// They are asked.
    Made {
        /// The index of the link [`ENTRANCE`], which a rule of nftables holds.
        link: u32,
    },
}

impl InputLoop {
    /// Whether the host's own rules are asked.
    pub fn is_used(self) -> bool {
        self != Self::Unused
    }

    /// Whether rules that go with it can be in the kernel: they are loaded when the link pair is made.
    pub fn may_have_rules(self) -> bool {
        self != Self::ToBeMade
    }
}

/// The end where copies of packets are sent that the host's own rules have let in.
pub const ENTRANCE: &str = "ocn-detour-in";

/// The end where they come back to the host.
pub const EXIT: &str = "ocn-detour-out";

/// The MAC of both ends, which have no ARP: no address has to be resolved.
pub const MAC: Mac = Mac([2, b'o', b'c', b'i', b'n', 0]);

/// The largest MTU that there is: what came in by another link must go through.
pub const MTU: u32 = 65535;

/// The exit's address. Where an interface has none, a source that leads elsewhere is refused even in the loose form of
/// `rp_filter`.
pub const ADDRESS: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 90), 32);

/// The settings of both ends: no IPv6, and what comes back may be from anywhere, also where `all` is strict, for the
/// larger of both counts.
pub fn settings() -> [Setting; 3] {
    [
        Setting::of("ipv6", ENTRANCE, "disable_ipv6", "1"),
        Setting::of("ipv6", EXIT, "disable_ipv6", "1"),
        Setting::of("ipv4", EXIT, "rp_filter", "2"),
    ]
}
