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
    /// Have the installed program take the running one's place
    ///
    /// No question is lost meanwhile. packaging/install and the package do it after an upgrade. Nothing is done where no
    /// name server runs.
    #[command(after_help = "Example:\n  ocinet agent replace")]
    Replace,
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
        match self {
            Self::Status(Status { json }) => status(options, json),
            Self::Replace => match ask(options, "replace") {
                Ok(_) | Err(Error::NotFound(_)) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }
}

fn status(options: &Options, json: bool) -> Result<()> {
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
        "name server {}, version {}, process {} with worker {} (Landlock: {}): {} containers on {}\n",
        list("addresses"),
        answer["version"].as_str().unwrap_or_default(),
        answer["pid"],
        answer["worker"],
        answer["landlock"].as_str().unwrap_or_default(),
        answer["containers"],
        list("networks"),
    ))
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
