//! The command `ocinet`.

#![cfg_attr(not(test), no_main)]

mod cli;

use ocinet::log::logger;

ocinet::program!(run);

/// Returns the exit code.
fn run() -> u8 {
    let cli::Arguments { options, command } = match cli::Arguments::of_this_process() {
        Ok(arguments) => arguments,
        Err(error) => return cli::usage(&error),
    };
    let log = logger(options.log_file.as_deref());
    command.run(&options, &log)
}
