//! Several ways out of the host, and what comes back by each of them. Pure: the caller says what the kernel has.

use crate::model::InterfaceName;

/// A link that a default route leads by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// The link.
    pub link: InterfaceName,
    /// The route's table.
    pub table: u32,
}

/// A rule that says which table a packet is routed by (ip-rule(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyRule {
    /// Its place.
    pub priority: u32,
    /// The table.
    pub table: u32,
    /// The mark that it asks for, and for nothing but that.
    pub mark: Option<u32>,
}

impl PolicyRule {
    /// Whether every host has it: `local`, `main` and `default` (`fib_default_rules_init`, net/ipv4/fib_rules.c).
    fn is_standard(&self) -> bool {
        matches!((self.priority, self.table), (0, 255) | (32_766, 254) | (32_767, 253))
    }
}

/// Whether the answers of published ports may leave by another uplink than the one by which they were asked: rules
/// choose between several, and no marks keep them apart yet.
pub fn answers_may_stray(ways: &[WayOut], rules: &[PolicyRule]) -> bool {
    let is_marked = |way: &&WayOut| rules.iter().any(|rule| rule.mark == Some(way.table) && rule.table == way.table);
    let has_several = ways.iter().any(|way| way.link != ways[0].link);
    has_several && !rules.iter().all(PolicyRule::is_standard) && !ways.iter().all(|way| is_marked(&way))
}
