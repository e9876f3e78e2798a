use std::path::{Path, PathBuf};

use slog::Logger;

use ocinet::engine::{Definitions, Engine, Result, settings};
use ocinet::input::config::Config;
use ocinet::kernel;
use ocinet::model::Invalid;
use ocinet::spec::HookCommand;

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Options {
    /// Where leases and records are
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/ocinet")]
    pub(super) state_dir: PathBuf,
    /// Where config.toml is
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/ocinet")]
    pub(super) config_dir: PathBuf,
    /// Append every log record to FILE, as a line of JSON: a regular file of root's, or none yet
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl Options {
    /// The settings of the host.
    pub(super) fn config(&self) -> Result<Config> {
        settings(&self.config_dir)
    }

    /// The command by which a runtime calls this program, with the same directories.
    pub(super) fn hook_command(&self) -> Result<HookCommand> {
        let mut options = Vec::new();
        let paths = [
            ("--state-dir", Some(&self.state_dir), "/run/ocinet"),
            ("--config-dir", Some(&self.config_dir), "/etc/ocinet"),
            ("--log-file", self.log_file.as_ref(), ""),
        ];
        for (option, path, default) in paths {
            let Some(path) = path.filter(|path| *path != Path::new(default)) else { continue };
            let absolute = std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
            let absolute =
                absolute.ok_or_else(|| Invalid::new(option, path.display(), "is no path that a spec can hold"))?;
            options.extend([option.to_owned(), absolute]);
        }
        Ok(HookCommand { program: kernel::own_program()?, options })
    }

    /// The engine for commands that only look. They need no configuration. `None` on an unused host.
    pub(super) fn engine_to_look(&self, log: &Logger) -> Result<Option<Engine>> {
        Engine::open_to_look(&self.state_dir, Config::unread(&self.config_dir), log.clone())
    }

    /// The definitions of networks.
    pub(super) fn definitions(&self) -> Definitions {
        Definitions::of(&Config::unread(&self.config_dir), &self.state_dir)
    }

    /// The engine for commands that undo. They need no configuration either. `None` on an unused host.
    pub(super) fn engine_to_undo(&self, log: &Logger) -> Result<Option<Engine>> {
        Engine::open_used(&self.state_dir, Config::unread(&self.config_dir), log.clone())
    }
}
