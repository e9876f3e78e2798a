use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use slog::Logger;

use ocinet::decide::moment;
use ocinet::engine::{Engine, Finding, Remedy, Result, preflight};
use ocinet::input::config::Config;
use ocinet::kernel::{self, Records};
use ocinet::model::shown;

use super::{Options, print};

/// Write what a bug report needs into one file.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file, which must not be there yet; - is stdout; without it, ocinet-bugreport- and the time in this folder
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What others than ocinet say of this host: a program and its arguments.
const PROGRAMS: [(&str, &[&str]); 10] = [
    ("uname", &["-a"]),
    ("cat", &["/etc/os-release"]),
    ("ip", &["-brief", "link"]),
    ("ip", &["-brief", "address"]),
    ("ip", &["route", "show", "table", "all"]),
    ("ip", &["rule"]),
    ("nft", &["list", "table", "inet", "ocinet"]),
    ("nft", &["list", "tables"]),
    ("iptables-save", &[]),
    ("ip6tables-save", &[]),
];

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let time = moment::written(kernel::now());
        let text = report(options, log, &time);
        let path = self.file.unwrap_or_else(|| format!("ocinet-bugreport-{}.txt", time.replace(':', "")).into());
        if path.as_os_str() == "-" {
            return print(&text);
        }
        let what = || format!("write {}", path.display());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(|error| kernel::Error::refused(what(), error))?;
        file.write_all(text.as_bytes()).map_err(|error| kernel::Error::refused(what(), error))?;
        print(&format!(
            "wrote {}: it has addresses, names and rules of this host, so read it before you send it\n",
            shown(&path.to_string_lossy())
        ))
    }
}

/// A section for each thing. What cannot be had is a sentence in its section.
fn report(options: &Options, log: &Logger, time: &str) -> String {
    let mut text = format!("ocinet {}, {time}\n", ocinet::version!());
    let mut section = |title: &str, body: String| {
        // Every line of what others wrote is one line.
        let body: String = body.lines().map(|line| shown(line) + "\n").collect();
        text += &format!("\n## {title}\n\n{body}");
    };
    section("preflight", findings(&preflight(&options.config_dir)));
    section("doctor", or_error(examined(options, log)));
    section("containers", or_error(containers(options, log)));
    section("definitions of networks", or_error(definitions(options)));
    let config = kernel::read_regular(&options.config_dir.join("config.toml"), Config::MAX_BYTES);
    section(
        "config.toml",
        match config {
            Ok(text) => text.map_or_else(|| "is not there".into(), |text| String::from_utf8_lossy(&text).into_owned()),
            Err(error) => error.to_string(),
        },
    );
    let records = Records::of(&options.state_dir).read().more();
    section("log", records.map_or_else(|error| error.to_string(), |records| records.join("\n")));
    for (program, arguments) in PROGRAMS {
        section(&[&[program], arguments].concat().join(" "), kernel::told_by(program, arguments));
    }
    text
}

fn or_error(text: Result<String>) -> String {
    text.unwrap_or_else(|error| error.to_string())
}

fn findings(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let (kind, remedy) = match &finding.remedy {
            Remedy::Ours => ("wrong", "; ocinet doctor --fix mends it".to_owned()),
            Remedy::Yours(remedy) => ("wrong", format!("; to mend it: {remedy}")),
            Remedy::Note => ("note", String::new()),
            Remedy::Fine => ("fine", String::new()),
        };
        format!("{kind}: {} {}{remedy}\n", finding.subject, finding.trouble)
    };
    findings.iter().map(line).collect()
}

fn examined(options: &Options, log: &Logger) -> Result<String> {
    let config = options.config().unwrap_or_else(|_| Config::unread(&options.config_dir));
    match Engine::open_to_look(&options.state_dir, config, log.clone())? {
        Some(mut engine) => Ok(findings(&engine.examine()?)),
        None => Ok("ocinet was not used on this host since it booted".into()),
    }
}

fn containers(options: &Options, log: &Logger) -> Result<String> {
    let Some(mut engine) = options.engine_to_look(log)? else { return Ok(String::new()) };
    let all = engine.all_after(0, u32::MAX)?;
    Ok(all.iter().map(|sandbox| serde_json::json!(sandbox).to_string() + "\n").collect())
}

fn definitions(options: &Options) -> Result<String> {
    let all = options.definitions().all()?;
    let one = |(name, definition): (&String, &Result<_>)| match definition {
        Ok(definition) => format!("{name}: {definition:?}\n"),
        Err(error) => format!("{name}: {error}\n"),
    };
    Ok(all.iter().map(one).collect())
}
