//! What an OCI runtime hands to a hook: the state on stdin, the bundle's config.json, and our annotations in it.

mod annotations;
mod bundle;
pub mod edit;
mod state;

pub use annotations::{AnnotationKey, Annotations};
pub use bundle::{Bundle, NetworkNamespace};
pub use state::{Stage, State};
