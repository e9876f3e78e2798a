//! `containerd-shim-ocinet-v2`: wires the network of containerd's containers, then hands over to the stock runc shim.
//!
//! It is no shim itself. containerd calls it to start one: it edits the bundle, so that the runtime calls `ocinet`, and
//! executes `containerd-shim-runc-v2` in its own place. Nothing of it stays in memory.

mod call;
mod delegate;
mod events;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use call::Call;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("serve") => serve::run(&arguments[1..]),
        Some("events") => events::run(&arguments[1..]),
        // containerd's own calls begin with a flag.
        _ => delegate::run(&Call::parse(&arguments), &arguments),
    }
}
