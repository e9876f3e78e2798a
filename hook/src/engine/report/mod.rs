//! Answers that change nothing: what an attach or a connect would do, what networks there are, how a packet passes
//! between them, and what a picture of them shows.

mod explain;
mod plan;
mod plan_connection;
mod uplinks;
mod view;

pub use explain::{Explained, Question};
pub use plan::Plan;
pub use uplinks::uplinks;
pub use view::{NetworkKind, NetworkView};
