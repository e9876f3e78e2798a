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
    let log = match logger(options.log_file.as_deref()) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("ocinet: --log-file {:?}: {error}", options.log_file.unwrap_or_default());
            return ExitCode::from(2);
        }
    };
    command.run(&options, &log)
}
