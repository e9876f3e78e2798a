use slog::Logger;

use ocinet::engine::{AGENT_SOCKET, Error, Result};
use ocinet::kernel;

use super::{Options, print};

/// Show the name server of containers on networks of one's own.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Say whether the name server runs, and for whom
    ///
    /// The first container on a network of one's own starts it, and it ends when the last one has left.
    #[command(after_help = "Example:\n  ocinet agent status")]
    Status(Status),
}

/// Say whether the name server runs, and for whom.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(self, options: &Options, _log: &Logger) -> Result<()> {
        let Self::Status(Status { json }) = self;
        let answer = ask(options, "status")?;
        if json {
            return print(&format!("{answer}\n"));
        }
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(unreadable)?;
        let list = |key: &str| {
            let all = answer[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
            all.collect::<Vec<_>>().join(", ")
        };
        print(&format!(
            "name server {}, version {}, process {}: {} containers on {}\n",
            answer["address"].as_str().unwrap_or_default(),
            answer["version"].as_str().unwrap_or_default(),
            answer["pid"],
            answer["containers"],
            list("networks"),
        ))
    }
}

/// The name server's answer to one line.
///
/// # Errors
/// [`Error::NotFound`] where none runs.
pub(super) fn ask(options: &Options, line: &str) -> Result<String> {
    let none = || Error::NotFound("no name server runs: no container is on a network of one's own".into());
    kernel::ask_line(&options.state_dir.join(AGENT_SOCKET), line)?.ok_or_else(none)
}

pub(super) fn unreadable(error: serde_json::Error) -> Error {
    Error::Kernel(kernel::Error::refused("read the name server's answer", std::io::Error::other(error)))
}
