use std::path::PathBuf;

use slog::Logger;

use ocinet::engine::{OpenBundle, Result};
use ocinet::input::Stage;
use ocinet::model::shown;
use ocinet::spec::Document;

use super::asked::{Asked, in_one_line, name_of, warn_of};
use super::{Options, print};

/// Edit a bundle's config.json so that its runtime calls ocinet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle directory
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    #[command(flatten)]
    asked: Asked,
    /// Begin anew, from config.json as it was before ocinet edited it first
    #[arg(long)]
    reset: bool,
    /// Give config.json back as it was
    #[arg(long, conflicts_with_all = ["Asked", "reset"])]
    undo: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let mut bundle = OpenBundle::open(&self.bundle)?;
        let name = name_of(&self.bundle, &bundle);
        let line = if self.undo {
            match bundle.spec.undo()? {
                true => format!("{name}: config.json is as it was before"),
                false if has_hooks(&bundle.spec) => format!(
                    "{name}: config.json has hooks of ocinet, and no note of an edit, so that it stays as it is; ocinet \
                     prepare --reset takes their place"
                ),
                false => format!("{name}: config.json has no edit of ocinet"),
            }
        } else {
            let id = bundle.name().parse()?;
            let request = self.asked.edit(&mut bundle, &id, self.reset, options, log)?;
            warn_of(request.as_ref(), log);
            format!("{name} asks for {}", in_one_line(&bundle.spec))
        };
        bundle.save()?;
        print(&(shown(&line) + "\n"))
    }
}

/// Whether a runtime would call ocinet.
fn has_hooks(spec: &Document) -> bool {
    let stages = [Stage::Prestart, Stage::CreateRuntime, Stage::Poststop];
    stages.into_iter().any(|stage| spec.our_program(stage).is_some())
}
