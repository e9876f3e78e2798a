//! The link pair by which the host's own input rules are asked about published ports.

use ipnet::Ipv4Net;

use crate::driver::Setting;
use crate::model::Mac;

/// Where copies of packets are sent that the host's own rules have let in.
pub const INPUT_LOOP_IN: &str = "ocn-detour-in";

/// Where they come back to the host.
pub const INPUT_LOOP_OUT: &str = "ocn-detour-out";

/// The input loop: a link pair whose two ends are on the host. Both have one MAC and no ARP, so that no address has to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLoop;

impl InputLoop {
    /// The MAC of both ends.
    pub const MAC: Mac = Mac([2, b'o', b'c', b'i', b'n', 0]);
    /// The largest that there is: what came in by another link must go through.
    pub const MTU: u32 = 65535;
    /// Where an interface has none, a source that leads elsewhere is refused even in the loose form of `rp_filter`.
    pub const ADDRESS: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 90), 32);

    /// The settings of its ends: no IPv6, and what comes back may be from anywhere, also where `all` is strict, for the larger of
    /// both counts.
    pub fn settings() -> [Setting; 3] {
        [
            Setting::of("ipv6", INPUT_LOOP_IN, "disable_ipv6", "1"),
            Setting::of("ipv6", INPUT_LOOP_OUT, "disable_ipv6", "1"),
            Setting::of("ipv4", INPUT_LOOP_OUT, "rp_filter", "2"),
        ]
    }
}
