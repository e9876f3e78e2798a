//! What the command line asks for, and how much is done for it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub const USAGE: &str = "usage: integration/bench [--quick] [--write] [--netavark FILE] [--cni FOLDER] [SCENE]...
scenes: ports, position, crowd, networks, names, datapath";

/// The scenes, and the part of the whole time, in per cent, that each may take. What one leaves is the next one's.
pub const SCENES: [(&str, u32); 6] =
    [("ports", 25), ("position", 20), ("crowd", 15), ("networks", 15), ("names", 10), ("datapath", 15)];

/// The command line.
pub struct Options {
    /// Whether the pages are written.
    pub write: bool,
    /// Netavark's program.
    pub netavark: PathBuf,
    /// The C library that it needs, where this machine's is too old for it.
    pub libraries: Option<PathBuf>,
    /// The folder of the CNI plugins.
    pub cni: PathBuf,
    /// The scenes that are played.
    pub scenes: Vec<String>,
    pub effort: Effort,
}

/// How much is done. A subject that has used up its time in a column does no further round there.
pub struct Effort {
    /// In words.
    pub name: &'static str,
    /// The time of all scenes. On a machine that is too slow for it, there are fewer rounds.
    pub whole: Duration,
    /// Numbers of published ports, and the rounds for each.
    pub ports: &'static [usize],
    pub rounds: usize,
    /// The time of one subject with one number of ports.
    pub time_of_ports: Duration,
    /// After how many containers on one bridge an attach is looked at.
    pub positions: &'static [usize],
    /// The time of one subject.
    pub time_of_position: Duration,
    /// How many are attached at once.
    pub crowds: &'static [usize],
    /// How many calls of one size there are about, in as many rounds as that takes.
    pub calls: usize,
    /// The time of one subject with one size.
    pub time_of_crowd: Duration,
    /// Numbers of networks beside which containers are attached.
    pub networks: &'static [usize],
    /// The time that one subject has to make them.
    pub time_of_networks: Duration,
    /// Numbers of published ports beside which packets travel, and the rounds for each.
    pub paths: &'static [usize],
    pub path_rounds: usize,
    /// How long it may take to attach containers with so many ports.
    pub time_of_path: Duration,
}

const FULL: Effort = Effort {
    name: "in full",
    whole: Duration::from_secs(19 * 60),
    ports: &[0, 1, 100, 1_000],
    rounds: 60,
    time_of_ports: Duration::from_secs(8),
    positions: &[1, 10, 100, 500, 1_000],
    time_of_position: Duration::from_secs(120),
    crowds: &[1, 50, 200, 1_000],
    calls: 200,
    time_of_crowd: Duration::from_secs(30),
    networks: &[0, 10, 100, 500],
    time_of_networks: Duration::from_secs(20),
    paths: &[1, 5_000],
    path_rounds: 30,
    time_of_path: Duration::from_secs(40),
};

const QUICK: Effort = Effort {
    name: "with few rounds (`--quick`)",
    whole: Duration::from_secs(3 * 60),
    rounds: 10,
    time_of_ports: Duration::from_millis(1_500),
    positions: &[1, 10, 100],
    time_of_position: Duration::from_secs(6),
    calls: 50,
    time_of_crowd: Duration::from_secs(4),
    networks: &[0, 10, 100],
    time_of_networks: Duration::from_secs(5),
    path_rounds: 5,
    time_of_path: Duration::from_secs(8),
    ..FULL
};

impl Options {
    /// Reads the command line.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            write: false,
            netavark: "/usr/lib/podman/netavark".into(),
            libraries: None,
            cni: "/usr/lib/cni".into(),
            scenes: Vec::new(),
            effort: FULL,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--bench" => {} // from cargo
                "--quick" => options.effort = QUICK,
                "--write" => options.write = true,
                "--netavark" => options.netavark = value()?.into(),
                "--libraries" => options.libraries = Some(value()?.into()),
                "--cni" => options.cni = value()?.into(),
                scene if SCENES.iter().any(|(name, _)| *name == scene) => options.scenes.push(word),
                _ => bail!("{word:?}?\n{USAGE}"),
            }
        }
        if options.scenes.is_empty() {
            options.scenes = SCENES.map(|(name, _)| name.to_owned()).into();
        }
        Ok(options)
    }
}
