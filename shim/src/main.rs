//! `containerd-shim-ocinet-v2`: wires the network of containerd's containers, then hands over to the stock runc shim.
//!
//! It is no shim itself. containerd calls it to start one: it wires the network, edits the bundle so that it leads there, and has
//! `containerd-shim-runc-v2` do the rest. Nothing of it stays in memory.

mod call;
mod convert;
mod delete;
mod events;
mod serve;
mod start;
mod stock;

use std::ffi::OsString;
use std::process::ExitCode;

use ocinet::kernel;
use ocinet::log::{logger, with_journal};
use slog::{Discard, Logger, crit, o};

use call::{Action, Call};
use stock::Stock;

/// Where `ocinet` keeps leases and records when a runtime calls it.
const STATE_DIR: &str = "/run/ocinet";
/// Where its settings are.
const CONFIG_DIR: &str = "/etc/ocinet";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("serve") => serve::run(&arguments[1..]),
        Some("events") => events::run(&arguments[1..]),
        // containerd's own calls begin with a flag.
        _ => delegate(&arguments),
    }
}

/// Does our part of what containerd asks for, and has the stock shim do the rest.
fn delegate(arguments: &[OsString]) -> ExitCode {
    kernel::hurry_memory();
    let call = Call::parse(arguments);
    let id = call.id.as_deref().unwrap_or_default().to_string_lossy().into_owned();
    // What goes to stderr, containerd gives to whoever asked or, of a deletion, to its log.
    let loud = logger(None).unwrap_or_else(|_| Logger::root(Discard, o!()));
    let loud = with_journal(&loud).new(o!("container" => id.clone()));
    // The start of a shim says its address, and whatever else it says is taken for a part of that.
    let quiet = with_journal(&Logger::root(Discard, o!())).new(o!("container" => id.clone()));
    let stock = Stock::of(&call, arguments);
    if call.action == Some(Action::Delete) {
        delete::run(&call, &loud);
    }
    let done = stock.and_then(|stock| match call.action {
        Some(Action::Start) => start::run(&call, stock, &quiet),
        Some(Action::Delete) | None => Err(stock.take_over()),
    });
    done.unwrap_or_else(|error| {
        crit!(loud, "{error}"; "exit" => error.exit_code());
        ExitCode::from(error.exit_code())
    })
}

/// Help as it is; what is wrong with a command line in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nobody is left to tell that nobody listens.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    eprintln!("ocinet: {}", paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    ExitCode::from(2)
}
