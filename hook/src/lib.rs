//! ocinet wires the network of OCI containers, without a daemon.
//!
//! The floors, each importing only lower ones: [`model`] < [`input`] < [`spec`] < [`driver`], [`firewall`] < [`decide`]
//! < [`kernel`], [`store`] < [`engine`] < `cli`. ARCHITECTURE.md tells the way through them.

pub mod decide;
pub mod driver;
pub mod engine;
pub mod firewall;
pub mod input;
pub mod kernel;
pub mod log;
pub mod model;
pub mod resident;
pub mod shell;
pub mod spec;
pub mod store;

/// The version of the program in which it stands, as `--version` prints it: `packaging/` builds with OCINET_VERSION, in
/// which the commit and its date are. It is a macro, so that another commit has the programs compiled anew and not this
/// library.
#[macro_export]
macro_rules! version {
    () => {
        match option_env!("OCINET_VERSION") {
            Some(version) => version,
            None => env!("CARGO_PKG_VERSION"),
        }
    };
}
