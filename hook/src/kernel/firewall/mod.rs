//! The host's firewall: who keeps our rules and how they get there, and what other programs have there.

mod backend;
mod foreign;
mod iptables;
mod late_input_chains;
mod nftables;
mod xtables;

pub use backend::{Choice, backend, choose, loaded, suits};
pub use foreign::{ForeignFirewalls, add_pass, change_zone, remove_pass};
pub use late_input_chains::chains_behind_security;
pub(super) use nftables::Nftables;
pub(super) use xtables::has_table;
