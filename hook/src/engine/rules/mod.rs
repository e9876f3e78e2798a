//! The rules of the host's firewall. Each file calls only those before it:
//!
//! - `keeper`: which firewall keeps the rules.
//! - `pass`: the passes through other programs' firewalls.
//! - `input_loop`: who calls for the link pair by which the host's own rules are asked, and when it comes and goes.
//! - `ruleset`: what the firewall must hold, and when all of it is loaded.
//! - `forwarding`: the switch that the rules guard.
//! - `moving`: the way of the rules from one firewall to another.
//! - `container`: what one container needs of all this.

mod container;
mod forwarding;
mod input_loop;
mod keeper;
mod moving;
mod pass;
mod ruleset;

pub(super) use container::{refuse_loopback, refuse_unasked};
pub(super) use forwarding::{forward_no_more, not_forwarded};
pub(super) use input_loop::{input_loop_by, is_input_loop_as_needed};
pub(super) use pass::{Passes, Unpassed, passed_families};
pub(super) use ruleset::Rules;
