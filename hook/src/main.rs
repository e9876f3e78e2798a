//! The command `ocinet`.

mod cli;

use std::process::ExitCode;

use clap::Parser;

use ocinet::log::logger;

fn main() -> ExitCode {
    let cli::Arguments { options, command } = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::usage(&error),
    };
    let log = logger(options.log_file.as_deref());
    command.run(&options, &log)
}
