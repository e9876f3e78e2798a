use std::path::Path;

use clap_complete::engine::ArgValueCandidates;
use serde_json::Value;
use slog::Logger;

use ocinet::engine::{Engine, Error, Finding, Member, Remedy, Result, examine_bundle, preflight};
use ocinet::input::config::Config;
use ocinet::kernel::Records;
use ocinet::log::with_records;
use ocinet::model::{quoted, shown};

use super::screen::Screen;
use super::{Options, print, print_json, report};

/// Say what is wrong, ours or not, and put right what is ours.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Why this container has no network: its id, its name, the beginning of its id, or the folder of its bundle;
    /// without it, the whole host
    #[arg(value_name = "CONTAINER|BUNDLE", conflicts_with = "fix", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    one: Option<String>,
    /// Put right what is ours
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found, and what was mended before.
#[derive(Default)]
struct Found {
    repaired: Vec<Finding>,
    findings: Vec<Finding>,
    /// Whether the host was not used since it booted.
    is_unused: bool,
}

impl Arguments {
    /// Returns the exit code: 1 where something is wrong, or is still wrong after mending.
    pub(super) fn run(self, options: &Options, log: &Logger) -> u8 {
        // Who only looks makes nothing, no record either.
        let recorded = self.fix.then(|| with_records(log, &options.state_dir));
        match self.look(options, recorded.as_ref().unwrap_or(log)) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(error) => report(Err(error), log),
        }
    }

    /// Returns whether nothing is wrong at the end.
    fn look(&self, options: &Options, log: &Logger) -> Result<bool> {
        let (config, mistake) = match options.config() {
            Ok(config) => (config, None),
            Err(error) => (Config::unread(&options.config_dir), Some(error)),
        };
        let mut found = match &self.one {
            Some(one) => Found { findings: about(one, options, &config, log)?, ..Found::default() },
            None => self.examine(options, &config, mistake.is_none(), log)?,
        };
        // The preflight looks at the settings itself.
        found.findings.extend(mistake.filter(|_| !found.is_unused).map(|error| Finding::of_settings(&error)));
        if self.json {
            print_json(&found.findings)?;
        } else {
            print(&text(&found, Screen::of_stdout()))?;
        }
        Ok(!found.findings.iter().any(Finding::is_fault))
    }

    /// The whole host. With settings that cannot be read nothing is mended: by the defaults it might be moved.
    fn examine(&self, options: &Options, config: &Config, may_mend: bool, log: &Logger) -> Result<Found> {
        let Some(mut engine) = Engine::open_to_look(&options.state_dir, config.clone(), log.clone())? else {
            return Ok(Found { findings: preflight(&options.config_dir), is_unused: true, ..Found::default() });
        };
        let mut findings = engine.examine()?;
        engine.close();
        let mut repaired = Vec::new();
        if self.fix
            && may_mend
            && findings.iter().any(|finding| finding.remedy == Remedy::Ours)
            && let Some(mut engine) = Engine::open_used(&options.state_dir, config.clone(), log.clone())?
        {
            engine.restore()?;
            let left = engine.examine()?;
            engine.close();
            repaired = put_right(findings, &left);
            findings = left;
        }
        Ok(Found { repaired, findings, is_unused: false })
    }
}

/// Why one container, or one of this bundle, has no network.
fn about(one: &str, options: &Options, config: &Config, log: &Logger) -> Result<Vec<Finding>> {
    let mut engine = Engine::open_to_look(&options.state_dir, config.clone(), log.clone())?;
    let mut findings = Vec::new();
    if !one.contains('/') && one != "." {
        let attached = match &mut engine {
            Some(engine) => engine.sandboxes_of(one),
            None => Err(Error::NotFound(String::new())),
        };
        match (attached, &mut engine) {
            (Ok(sandboxes), Some(engine)) => {
                return Ok(sandboxes.iter().flat_map(|sandbox| engine.examine_one(sandbox)).collect());
            }
            (Err(Error::NotFound(_)), engine) => {
                if let Some(engine) = engine
                    && let Some(findings) = of_a_member(one, engine)?
                {
                    return Ok(findings);
                }
                let recorded = last_of(one, options).map(|record| no_more(one, &record));
                if !Path::new(one).join("config.json").exists() {
                    return Ok(vec![recorded.unwrap_or_else(|| never_called(one))]);
                }
                // The folder of that name is its bundle, or that of another container.
                findings.extend(recorded);
            }
            (attached, _) => attached.map(drop)?,
        }
    }
    findings.extend(examine_bundle(Path::new(one), config, &options.state_dir, engine.as_mut()));
    Ok(findings)
}

/// What is the matter with a container that shares another's network, or did; none where no such one is called so.
fn of_a_member(container: &str, engine: &mut Engine) -> Result<Option<Vec<Finding>>> {
    let members = engine.members()?;
    let called = members.iter().filter(|(member, _)| member.is_called(container));
    // Of several that are called so the one that runs, or may.
    let of_use = |(_, alive): &&(Member, Option<bool>)| alive.map_or(1, |alive| 2 * u8::from(alive));
    let Some((member, alive)) = called.max_by_key(of_use) else { return Ok(None) };
    let (subject, owner) = (format!("container {}", member.container), &member.owner);
    let yours = |trouble, remedy| Ok(Some(vec![Finding::yours(subject.clone(), trouble, remedy)]));
    match alive {
        Some(true) => {
            let all = engine.examine()?.into_iter();
            Ok(Some(all.filter(|finding| finding.is_fault() && finding.subject == subject).collect()))
        }
        Some(false) => yours(format!("has ended; it shared the network of {owner}"), "start it again"),
        None => yours(
            format!("shares the network of {owner}, and cannot be looked at"),
            "ocinet doctor as root with CAP_SYS_PTRACE and CAP_SYS_ADMIN",
        ),
    }
}

/// The last record of `container` that tells why it is not attached.
fn last_of(container: &str, options: &Options) -> Option<Value> {
    let records = Records::of(&options.state_dir).read().more().unwrap_or_default();
    let all = records.iter().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_it = all.filter(|record| {
        !container.is_empty() && (word(record, "container").starts_with(container) || word(record, "name") == container)
    });
    of_it.find(|record| record["level"] == "error" || record["message"] == "detached")
}

fn word<'r>(record: &'r Value, key: &str) -> &'r str {
    record[key].as_str().unwrap_or_default()
}

/// Why a container is not attached, by the last record of it.
fn no_more(container: &str, record: &Value) -> Finding {
    let subject = format!("container {}", quoted(container));
    match record["level"] == "error" {
        true => Finding::yours(
            subject,
            format!("is not attached; it was refused at {}: {}", word(record, "time"), word(record, "message")),
            "put that right, and start it again; ocinet log has all of it",
        ),
        false => Finding::yours(
            subject,
            format!("is not attached; it was detached at {}", word(record, "time")),
            "start it again with its runtime, if it should run",
        ),
    }
}

/// What to look at where nothing was recorded of a container.
fn never_called(container: &str) -> Finding {
    Finding::yours(
        format!("container {}", quoted(container)),
        "is not attached, and no call for it was recorded: its runtime did not call ocinet",
        "a bundle: ocinet doctor BUNDLE; podman: --network=none --annotation io.ocinet.network=bridge, and its hook \
         files, which ocinet doctor looks at on an unused host; containerd: --runtime io.containerd.ocinet.v2; one \
         that shares another's network is looked at by the name of that one",
    )
}

/// A line for each finding, faults first. A remedy follows on a second line, which is not wrapped: a command is to be
/// copied whole.
fn text(found: &Found, screen: Screen) -> String {
    let sentence = |word: &str, finding: &Finding| {
        let line = format!("{word} {} {}", finding.subject, finding.trouble);
        let line = screen.wrapped(&shown(&line), "       ");
        // After it was wrapped, since colours take no room.
        let rest = line.strip_prefix(word).unwrap_or_default();
        let word = match word {
            "wrong:" => screen.red(word),
            "note:" => screen.yellow(word),
            _ => screen.green(word),
        };
        format!("{word}{rest}\n")
    };
    let mut text = String::new();
    if found.is_unused {
        text += "ocinet was not used on this host since it booted; what it needs:\n";
    }
    text.extend(found.repaired.iter().map(|finding| sentence("mended:", finding)));
    let findings = &found.findings;
    for finding in findings.iter().filter(|finding| finding.is_fault()) {
        let remedy = match &finding.remedy {
            Remedy::Yours(remedy) => &shown(remedy),
            _ => "ocinet doctor --fix",
        };
        text += &format!("{}       to mend it: {remedy}\n", sentence("wrong:", finding));
    }
    if !findings.iter().any(Finding::is_fault) {
        text += "nothing is wrong\n";
    }
    text.extend(findings.iter().filter(|f| f.remedy == Remedy::Note).map(|finding| sentence("note:", finding)));
    text.extend(findings.iter().filter(|f| f.remedy == Remedy::Fine).map(|finding| sentence("fine:", finding)));
    text
}

/// The faults that are gone. A note that is gone was not repaired, so it does not count.
fn put_right(before: Vec<Finding>, left: &[Finding]) -> Vec<Finding> {
    before.into_iter().filter(|finding| finding.is_fault() && !left.contains(finding)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_are_mended() {
        let finding =
            |subject: &str, remedy: Remedy| Finding { subject: subject.into(), trouble: "is so".into(), remedy };
        let fault = finding("bridge", Remedy::Ours);
        let before = vec![fault.clone(), finding("link", Remedy::Ours), finding("firewall", Remedy::Note)];
        let left = [finding("link", Remedy::Ours), finding("port", Remedy::Note)];
        let repaired = put_right(before, &left);
        assert_eq!(repaired, [fault]);
        let expected =
            "mended: bridge is so\nwrong: link is so\n       to mend it: ocinet doctor --fix\nnote: port is so\n";
        let found = Found { repaired, findings: left.to_vec(), is_unused: false };
        assert_eq!(text(&found, Screen::default()), expected);
        let narrow = text(&found, Screen { columns: Some(14), colour: true });
        let expected = "\u{1b}[31mwrong:\u{1b}[0m link is\n       so\n       to mend it: ocinet doctor --fix\n";
        assert!(narrow.contains(expected), "{narrow:?}");
    }
}
