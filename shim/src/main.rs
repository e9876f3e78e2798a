//! `containerd-shim-ocinet-v2`: wires the network of containerd's containers, then hands over to the stock runc shim.
//!
//! It is no shim itself. containerd calls it to start one: it wires the network, edits the bundle so that it uses that
//! network, and starts `containerd-shim-runc-v2`, which does the rest. Its own process ends then.

mod call;
mod convert;
mod delete;
mod dial;
mod events;
mod log;
mod serve;
mod start;
mod stock;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use ocinet::kernel;
use ocinet::model::shown;
use slog::crit;

use call::{Action, Call};
use stock::Stock;

/// The state directory that `ocinet` uses when a runtime calls it.
const STATE_DIR: &str = "/run/ocinet";
/// The folder of its settings.
const CONFIG_DIR: &str = "/etc/ocinet";

/// What `--help` prints.
const HELP: &str = "\
Wires the network of containerd's containers, then hands over to containerd-shim-runc-v2

containerd calls it where a runtime names it, as in
  ctr run --runtime /usr/bin/containerd-shim-ocinet-v2 --annotation io.ocinet.publish=8080:80 IMAGE web
and passes flags of its own, which the stock shim is given too.

Usage: containerd-shim-ocinet-v2 COMMAND

Commands:
  serve   Serve the network functions to other programs; each command has its own --help
  events  Follow what the service tells: ocinet events does the same without a service

Options:
  -h, --help     Print help
  -V, --version  Print version

Example:
  containerd-shim-ocinet-v2 events --json
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("--help" | "-h" | "help") => say(HELP),
        Some("--version" | "-V" | "version") => say(&format!("containerd-shim-ocinet-v2 {}\n", ocinet::version!())),
        Some("serve") => serve::run(&arguments[1..]),
        Some("events") => events::run(&arguments[1..]),
        // Calls of containerd begin with a flag.
        _ => delegate(&arguments),
    }
}

/// Prints what was asked for. A closed stdout cannot be told anything.
fn say(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Runs the stock shim for containerd's call, and wires or unwires the network at the same time.
fn delegate(arguments: &[OsString]) -> ExitCode {
    kernel::hurry_memory();
    let call = Call::parse(arguments);
    let stock = Stock::of(&call, arguments);
    let done = match call.action {
        Some(Action::Start) => {
            stock.and_then(Stock::start).and_then(|stock| start::run(&call, stock, &log::quiet(&call)))
        }
        Some(Action::Delete) => delete::run(&call, stock),
        None => stock.and_then(|stock| Err(stock.take_over())),
    };
    done.unwrap_or_else(|error| {
        crit!(log::loud(&call), "{error}"; "exit" => error.exit_code());
        ExitCode::from(error.exit_code())
    })
}

/// Prints help as it is, and an error of the command line in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // stdout is closed: the failure cannot be reported.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    // As with help, an error means that stderr is closed; `eprintln` would panic.
    let _ = writeln!(std::io::stderr(), "ocinet: {}", shown(&line));
    ExitCode::from(2)
}
