//! Answers that change nothing: what an attach would do, and what networks there are.

mod plan;
mod view;

pub use plan::Plan;
pub use view::{NetworkKind, NetworkView};
