use slog::Logger;

use ocinet::engine::{Engine, Finding, Remedy, Result};
use ocinet::log::with_journal;
use ocinet::model::shown;

use super::{Options, print, print_json, report};

/// Say what is wrong, ours or not, and put right what is ours.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Put right what is ours
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Returns the exit code: 1 where something is wrong, or is still wrong after mending.
    pub(super) fn run(self, options: &Options, log: &Logger) -> u8 {
        match self.examine(options, &with_journal(log)) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(error) => report(Err(error), log),
        }
    }

    /// Returns whether nothing is wrong at the end.
    fn examine(&self, options: &Options, log: &Logger) -> Result<bool> {
        let Some(mut engine) = Engine::open_to_look(&options.state_dir, options.config()?, log.clone())? else {
            if self.json {
                print_json(&Vec::<Finding>::new())?;
            } else {
                print("ocinet was not used on this host since it booted\n")?;
            }
            return Ok(true);
        };
        let mut findings = engine.examine()?;
        engine.close();
        let mut repaired = Vec::new();
        if self.fix
            && findings.iter().any(|finding| finding.remedy == Remedy::Ours)
            && let Some(mut engine) = Engine::open_used(&options.state_dir, options.config()?, log.clone())?
        {
            engine.restore()?;
            let left = engine.examine()?;
            engine.close();
            repaired = put_right(findings, &left);
            findings = left;
        }
        if self.json {
            print_json(&findings)?;
        } else {
            print(&text(&repaired, &findings))?;
        }
        Ok(!findings.iter().any(Finding::is_fault))
    }
}

/// A line for each finding, faults first. A remedy follows on a second line.
fn text(repaired: &[Finding], findings: &[Finding]) -> String {
    let sentence = |finding: &Finding| shown(&format!("{} {}", finding.subject, finding.trouble));
    let mut text: String = repaired.iter().map(|finding| format!("mended: {}\n", sentence(finding))).collect();
    for finding in findings.iter().filter(|finding| finding.is_fault()) {
        let remedy = match &finding.remedy {
            Remedy::Yours(remedy) => &shown(remedy),
            _ => "ocinet doctor --fix",
        };
        text += &format!("wrong: {}\n       to mend it: {remedy}\n", sentence(finding));
    }
    if !findings.iter().any(Finding::is_fault) {
        text += "nothing is wrong\n";
    }
    text.extend(findings.iter().filter(|f| !f.is_fault()).map(|finding| format!("note: {}\n", sentence(finding))));
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
        assert_eq!(text(&repaired, &left), expected);
    }
}
