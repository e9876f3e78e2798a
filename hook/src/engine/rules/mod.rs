//! The rules of the host's firewall: when they are loaded, which firewall keeps them, the forwarding that they guard, and the passes
//! through other firewalls.

mod firewall;
mod forwarding;
mod input_loop;
mod keeper;
mod pass;

pub(super) use keeper::Keeper;
pub(super) use pass::Passes;
