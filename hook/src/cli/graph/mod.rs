//! `ocinet graph`: one [`Picture`] of the host, and a file for each format that it is drawn in.

mod dot;
mod mermaid;
mod picture;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use clap::ValueEnum;
use slog::Logger;

use ocinet::engine::{Result, uplinks};

use self::picture::Picture;
use super::network::views_of;
use super::ps::{Line, Sidecar};
use super::screen::Screen;
use super::{Options, print};

/// Draw the networks and the containers on them.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to draw it as
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

/// What it is drawn as.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// Lines for a terminal
    #[default]
    Text,
    /// A graph in the language of Graphviz
    Dot,
    /// A flowchart of Mermaid
    Mermaid,
    /// A picture in one file
    Svg,
    /// A page with that picture
    Html,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let mut engine = options.engine_to_look(log)?;
        let views = views_of(engine.as_mut(), options, log)?;
        let (mut lines, mut sidecars) = (Vec::new(), Vec::new());
        if let Some(engine) = &mut engine {
            sidecars = Sidecar::all(engine)?;
            for sandbox in engine.sandboxes()? {
                lines.extend(Line::of(sandbox, engine)?);
            }
        }
        let picture = Picture::of(uplinks()?.iter().map(ToString::to_string).collect(), &views, &lines, &sidecars);
        print(&match self.format {
            Format::Text => text::drawn(&picture, Screen::of_stdout()),
            Format::Dot => dot::drawn(&picture),
            Format::Mermaid => mermaid::drawn(&picture),
            Format::Svg => svg::drawn(&picture),
            Format::Html => svg::page(&picture),
        })
    }
}
