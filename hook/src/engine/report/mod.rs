//! Answers that change nothing: what an attach or a connect would do, and what networks there are.

mod plan;
mod plan_connection;
mod view;

pub use plan::Plan;
pub use view::{NetworkKind, NetworkView};
