//! Taking a container's network away: at once what leads to it, then what the kernel takes its time for.

mod close;
mod detach;
mod drain;

pub(super) use drain::{Drains, clear_addresses};
