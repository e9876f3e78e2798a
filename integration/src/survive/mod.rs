//! What ocinet survives, tried and counted: kills, failing system calls, crowds, many cycles, lost rulesets.
//!
//! Two callers use this: `integration/survive`, which tries everything and prints the figures, and the tests, which try
//! a share.

mod aftermath;
mod at_once;
mod crowd;
mod crowds;
mod cycles;
mod faults;
mod flush;
mod hooks;
mod kills;
mod leftovers;
mod living;
mod network;
mod point;
mod runc;
mod scene;
mod share;
mod times;

pub use at_once::{AtOnce, Crowded, at_once};
pub use crowds::{Crowds, crowds, too_small_a_subnet};
pub use cycles::{Look, cycles, is_flat};
pub use faults::{Whose, at_every_fault};
pub use flush::recovery;
pub use hooks::{at_every_call, at_random, before_an_upgrade};
pub use kills::Tally;
pub use point::CALLER;
pub use runc::{Stage, runtime_killed, under_runc};
pub use scene::Scene;
pub use share::Share;
pub use times::Times;
