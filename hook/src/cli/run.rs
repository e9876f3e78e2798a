use std::io::Write;
use std::path::PathBuf;

use slog::{Discard, Logger, o};

use ocinet::decide::request::Request;
use ocinet::engine::{Engine, Error, OpenBundle, Result};
use ocinet::kernel;
use ocinet::model::{ContainerId, Invalid, shown};

use super::Options;
use super::asked::{Asked, in_one_line, name_of, warn_of};

/// Prepare a bundle, and run it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The bundle directory
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The container's id; by default the bundle directory's name
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    asked: Asked,
    /// Begin anew, from config.json as it was before ocinet edited it first
    #[arg(long)]
    reset: bool,
    /// The runtime; without it, the first of runc, crun and youki that is installed
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<String>,
    /// The runtime's root directory
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    /// Leave the container in the background
    #[arg(short, long)]
    detach: bool,
    /// Further options of the runtime's `run`, behind --
    #[arg(last = true, value_name = "OPTION")]
    more: Vec<String>,
}

/// The runtimes that are looked for, in this order.
const RUNTIMES: [&str; 3] = ["runc", "crun", "youki"];

impl Arguments {
    /// Does not return where the runtime was started: it has taken the place of this process.
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let program = self.program()?;
        let mut bundle = OpenBundle::open(&self.bundle).map_err(|error| self.in_other_words(error))?;
        let id: ContainerId = self.id.as_deref().unwrap_or(bundle.name()).parse()?;
        let had_ports = !self.reset && bundle.spec.annotation("io.ocinet.publish").is_some();
        let request = self.asked.edit(&mut bundle, &id, self.reset, options, log)?;
        warn_of(request.as_ref(), log);
        // Not on stdout, which is the container's.
        let line = format!("{} asks for {}", name_of(&self.bundle, &bundle), in_one_line(&bundle.spec));
        // Where stderr is closed, the container runs all the same.
        let _ = writeln!(std::io::stderr(), "{}", shown(&line));
        if let Some(request) = &request {
            refuse_taken(request, had_ports, options)?;
        }
        bundle.save()?;
        let folder = self.bundle.to_string_lossy().into_owned();
        let root = self.root.iter().flat_map(|root| ["--root", root.as_str()]);
        let detach = self.detach.then_some("--detach");
        let words: Vec<&str> = root
            .chain(["run"])
            .chain(detach)
            .chain(["--bundle", folder.as_str()])
            .chain(self.more.iter().map(String::as_str))
            .chain([id.as_str()])
            .collect();
        Err(kernel::become_program(&program, &words).into())
    }

    fn program(&self) -> Result<PathBuf> {
        let wrong = |why: &str| Invalid::new("--runtime", self.runtime.as_deref().unwrap_or_default(), why);
        Ok(match &self.runtime {
            Some(path) if path.contains('/') => Some(path.into()).filter(|path: &PathBuf| kernel::is_program(path)),
            Some(name) => kernel::program(name),
            None => RUNTIMES.into_iter().find_map(kernel::program),
        }
        .ok_or_else(|| match self.runtime {
            Some(_) => wrong("is no program of this host"),
            None => wrong("is not said, and none of runc, crun and youki is installed"),
        })?)
    }

    /// What is no folder may be meant as an image, as after `podman run`.
    fn in_other_words(&self, error: Error) -> Error {
        match error {
            Error::Invalid(mut invalid) if !self.bundle.exists() => {
                invalid.why += "; ocinet runs bundles, and images are podman's: podman run --network=none";
                invalid.into()
            }
            error => error,
        }
    }
}

/// Refuses what another container or program has, before the bundle is edited: an edit would keep the port that was
/// refused. What else is wrong is said by the attach.
fn refuse_taken(request: &Request, had_ports: bool, options: &Options) -> Result<()> {
    let silent = Logger::root(Discard, o!());
    match Engine::plan(&options.state_dir, options.config()?, silent, request) {
        Err(Error::Conflict(why)) if had_ports => {
            Err(Error::Conflict(format!("{why}; the bundle keeps what it published before, and --reset begins anew")))
        }
        Err(error @ Error::Conflict(_)) => Err(error),
        _ => Ok(()),
    }
}
