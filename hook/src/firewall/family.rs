use std::net::IpAddr;

/// An address family that has rules. An address of another has none, and no rule is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::V4];

    /// That of `address`.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => Some(Self::V4),
            IpAddr::V6(_) => None,
        }
    }
}
