//! Answers that change nothing: what an attach or a connect would do, what networks there are, and how a packet
//! passes between them.

mod explain;
mod plan;
mod plan_connection;
mod view;

pub use explain::{Explained, Question};
pub use plan::Plan;
pub use view::{NetworkKind, NetworkView};
