use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use ocinet::engine::Result;
use ocinet::input::config::Config;
use ocinet::kernel;
use ocinet::model::shown;

use super::{Options, print, print_json};

/// Check and show the settings of this host.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check config.toml and the definitions of networks
    ///
    /// The exit code is 2 where something in them would be refused. All of it is told, not the first alone.
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

/// A line for each file. The first error that there is decides the exit code.
fn check(options: &Options) -> Result<()> {
    let path = options.config_dir.join(FILE);
    let (mut text, mut first) = (String::new(), None);
    let mut note = |subject: String, result: Result<&str>| match result {
        Ok(state) => text += &format!("{subject}: {state}\n"),
        Err(error) => {
            text += &format!("{subject}: {}\n", shown(&error.to_string()));
            first.get_or_insert(error);
        }
    };
    let state = if kernel::is_gone(&path) { "is not there: the defaults hold" } else { "can be used" };
    note(path.display().to_string(), options.config().map(|_| state));
    let definitions = options.definitions();
    match definitions.all() {
        Ok(all) => {
            for (name, definition) in all {
                note(format!("network {name}"), definition.map(|_| "can be used"));
            }
        }
        Err(error) => note("networks".into(), Err(error)),
    }
    for (name, overlap) in definitions.overlapping().unwrap_or_default() {
        note(format!("network {name}"), Err(overlap.into()));
    }
    print(&text)?;
    first.map_or(Ok(()), Err)
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
        let text = kernel::read_regular(&path, Config::MAX_BYTES)?.unwrap_or_default();
        let settings = settings(&String::from_utf8_lossy(&text));
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
