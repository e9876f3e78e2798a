//! Taking a container's network away: at once what leads to it, then what the kernel takes its time for.

mod close;
mod connection;
mod detach;
mod drain;
mod gained;
mod rearrange;

pub(super) use connection::{is_unfinished, leaving};
pub(super) use drain::{Drains, clear_addresses};
pub(super) use gained::hold_back;
pub(super) use rearrange::{arrange, moved_routes, targets_left};
