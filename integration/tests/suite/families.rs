//! The families of addresses, for stories of both.

/// The host's and the LAN peer's addresses of IPv6, and one behind the peer.
pub const UPLINK6: &str = "2001:db8:51::1";
pub const PEER6: &str = "2001:db8:51::2";
pub const FAR6: &str = "2001:db8:52::1";

/// IPv6 on the cable between the host and its LAN peer.
pub const CABLE: &str = "
    ip address add 2001:db8:51::1/64 dev uplink nodad
    ip -netns peer address add 2001:db8:51::2/64 dev eth0 nodad
    ip -netns peer address add 2001:db8:52::1/128 dev lo nodad
    ip route add default via 2001:db8:51::2
";
