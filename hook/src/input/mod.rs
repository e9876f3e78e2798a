//! What others write and ocinet reads, parsed once into types: the runtime's state on stdin, the bundle's config.json,
//! the annotations in it, the grammar of published ports, config.toml and the definitions of networks. Pure.

mod annotations;
mod bundle;
pub mod config;
mod exposed;
mod json;
pub mod network_file;
mod publish;
mod state;
mod toml_file;

pub use annotations::{AnnotationKey, Annotations};
pub use bundle::{Bundle, NetworkNamespace};
pub use exposed::exposed_ports;
pub use publish::{ALL as PUBLISH_ALL, HostPort, PublishRequest, named_twice, parse_list as parse_publish};
pub use state::{Stage, State};

pub(crate) use annotations::{PREFIX, UNDO};
pub(crate) use json::parse as parse_json;

/// Whether a host name is the one that `runc spec`, `crun spec` or `youki spec` gives to every container.
/// It counts as not chosen.
pub(crate) fn is_templates_hostname(name: &str) -> bool {
    ["runc", "crun", "youki"].contains(&name)
}
