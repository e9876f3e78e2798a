//! The ways into ocinet for what others write, one function each.
//!
//! Each takes any bytes and must not panic unless something is wrong: with the bytes it does what a hook would do with
//! them as far as nothing of the host is touched, and asserts what must hold then. The properties of `../properties.rs`
//! and the fuzz targets of `../../fuzz/` call the same functions.

mod annotations;
mod bundle;
mod config;
mod ports;
mod publish;
mod shell;
mod spec;
mod state;
mod store;

pub use annotations::annotations;
pub use bundle::bundle;
pub use config::config;
pub use publish::publish;
pub use spec::spec;
pub use state::state;
pub use store::{damaged_store, store};

/// Makes sure that a message stays on one line of bearable length and sends no commands to a terminal.
fn one_line(message: &impl ToString) {
    let message = message.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
    assert!(message.len() < 2000, "{} bytes: {message}", message.len());
}
