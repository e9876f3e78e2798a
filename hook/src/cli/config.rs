use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use ocinet::engine::{Error, Result};
use ocinet::input::config::Config;
use ocinet::kernel;
use ocinet::model::{Invalid, shown};

use super::{Options, print, print_json};

/// Check and show the settings of this host.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check config.toml and the definitions of networks
    ///
    /// A line for each mistake, with the line of the file. Whether settings go together is told once each of them can be
    /// read. The exit code is 2 where something would be refused.
    #[command(after_help = "Example:\n  ocinet config check")]
    Check,
    /// Show the settings that hold, and where each is from
    #[command(after_help = "Examples:\n  ocinet config show\n  ocinet config show --json")]
    Show(Show),
}

#[derive(Debug, clap::Args)]
pub struct Show {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The name of the file in the folder of the settings.
const FILE: &str = "config.toml";

impl Command {
    pub(super) fn run(self, options: &Options) -> Result<()> {
        match self {
            Self::Check => check(options),
            Self::Show(arguments) => arguments.run(options),
        }
    }
}

/// A line for each file that can be used, and for each mistake in another. The first error decides the exit code.
fn check(options: &Options) -> Result<()> {
    let path = options.config_dir.join(FILE);
    let mut checked = Checked::default();
    let state = if kernel::is_gone(&path) { "is not there: the defaults hold" } else { USABLE };
    let mistakes = || Ok(Config::mistakes(&text(&path)?, &path.to_string_lossy()));
    checked.note(&path.display().to_string(), options.config().map(|_| state), mistakes);
    let definitions = options.definitions();
    match definitions.all() {
        Ok(all) => {
            for (name, definition) in all {
                let mistakes = || definitions.mistakes(&name);
                checked.note(&format!("network {name}"), definition.map(|_| USABLE), mistakes);
            }
        }
        Err(error) => checked.refuse("networks", error),
    }
    for (name, overlap) in definitions.overlapping().unwrap_or_default() {
        checked.refuse(&format!("network {name}"), overlap.into());
    }
    print(&checked.text)?;
    checked.first.map_or(Ok(()), Err)
}

const USABLE: &str = "can be used";

/// What was found of the files.
#[derive(Default)]
struct Checked {
    text: String,
    first: Option<Error>,
}

impl Checked {
    /// Notes what a hook makes of the file of `subject`: where that refuses it, all of its `mistakes`, each on a line. A file
    /// that cannot be read has none.
    fn note(&mut self, subject: &str, found: Result<&str>, mistakes: impl FnOnce() -> Result<Vec<Invalid>>) {
        let error = match found {
            Ok(state) => return self.text += &format!("{subject}: {state}\n"),
            Err(error) => error,
        };
        let mut all: Vec<String> = mistakes().unwrap_or_default().iter().map(ToString::to_string).collect();
        if all.is_empty() {
            all.push(error.to_string());
        }
        all.iter().for_each(|mistake| self.line(subject, mistake));
        self.first.get_or_insert(error);
    }

    fn refuse(&mut self, subject: &str, error: Error) {
        self.line(subject, &error.to_string());
        self.first.get_or_insert(error);
    }

    fn line(&mut self, subject: &str, said: &str) {
        self.text += &format!("{subject}: {}\n", shown(said));
    }
}

/// What the file at `path` says; nothing where it is not there.
fn text(path: &Path) -> Result<String> {
    let bytes = kernel::read_regular(path, Config::MAX_BYTES)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A setting that holds.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    name: &'static str,
    /// As it is written in the file; none where there is no default.
    value: Option<String>,
    /// The line of the file that says it.
    line: Option<usize>,
}

impl Show {
    fn run(&self, options: &Options) -> Result<()> {
        let path = options.config_dir.join(FILE);
        // One that cannot be used is refused with its line, as a hook would.
        options.config()?;
        let settings = settings(&text(&path)?);
        if self.json {
            let all: BTreeMap<_, _> = settings.iter().map(|one| (one.name, one.json(&path))).collect();
            return print_json(&all);
        }
        let width = settings.iter().map(|one| one.name.len()).max().unwrap_or(0);
        print(&settings.iter().map(|one| shown(&one.text(width, &path)) + "\n").collect::<String>())
    }
}

impl Setting {
    fn text(&self, width: usize, path: &Path) -> String {
        let name = self.name;
        match (&self.value, self.line) {
            (Some(value), Some(line)) => format!("{name:width$} = {value}   # {}, line {line}", path.display()),
            (Some(value), None) => format!("{name:width$} = {value}   # default"),
            (None, _) => format!("{name:width$}   # not set; see ocinet-config(5)"),
        }
    }

    fn json(&self, path: &Path) -> serde_json::Value {
        let source = match self.line {
            Some(line) => json!({ "file": path, "line": line }),
            None => json!("default"),
        };
        json!({ "value": self.value, "source": source })
    }
}

/// Every setting, as `text` says or else by default.
fn settings(text: &str) -> Vec<Setting> {
    let said: BTreeMap<String, (String, usize)> = toml::de::DeTable::parse(text)
        .map(|table| {
            let said = table.get_ref().iter().map(|(key, value)| {
                let line = text[..key.span().start].bytes().filter(|byte| *byte == b'\n').count() + 1;
                (key.get_ref().to_string(), (text[value.span()].to_owned(), line))
            });
            said.collect()
        })
        .unwrap_or_default();
    let setting = |key: &ocinet::input::config::ConfigKey| match said.get(key.name) {
        Some((value, line)) => Setting {
            name: key.name,
            value: Some(value.split_whitespace().collect::<Vec<_>>().join(" ")),
            line: Some(*line),
        },
        None => Setting { name: key.name, value: key.default().map(str::to_owned), line: None },
    };
    Config::KEYS.iter().map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_and_where_it_is_from() {
        let all = settings(
            "# ours\nfirewall = \"iptables\"\n\nnetwork_pools = [\n  { base = \"10.0.0.0/8\", size = 24 },\n]\n",
        );
        assert_eq!(all.len(), Config::KEYS.len());
        let text =
            |name: &str| all.iter().find(|one| one.name == name).unwrap().text(name.len(), Path::new("/c/config.toml"));
        assert_eq!(text("firewall"), "firewall = \"iptables\"   # /c/config.toml, line 2");
        assert_eq!(
            text("network_pools"),
            "network_pools = [ { base = \"10.0.0.0/8\", size = 24 }, ]   # /c/config.toml, line 4"
        );
        assert_eq!(text("close_forwarding"), "close_forwarding = true   # default");
        assert!(text("default_network").starts_with("default_network   # not set"));
    }
}
