//! What an OCI runtime hands to a hook: the state on stdin, the bundle's config.json, and our annotations in it.

mod annotations;
mod bundle;
pub mod edit;
mod json;
mod state;

pub use annotations::{AnnotationKey, Annotations};
pub use bundle::{Bundle, NetworkNamespace};
pub use state::{Stage, State};

/// Whether a host name is the one that `runc spec`, `crun spec` or `youki spec` gives to every container.
/// It counts as not chosen.
fn is_templates_hostname(name: &str) -> bool {
    ["runc", "crun", "youki"].contains(&name)
}
