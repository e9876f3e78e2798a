use clap_complete::engine::ArgValueCandidates;
use slog::{Logger, warn};

use ocinet::engine::{Result, not_attached};
use ocinet::model::shown;

use super::{Options, print};

/// Take away what dead containers left behind.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Take away what this container holds although it cannot be told whether it lives; one that is seen running is
    /// refused
    #[arg(long, value_name = "CONTAINER", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    forget: Option<String>,
}

impl Arguments {
    /// Goes on after the failure of one container, and reports all failures at the end.
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let drafts = options.definitions().remove_drafts();
        let Some(mut engine) = options.engine_to_undo(log)? else {
            return self.forget.map_or(drafts, |container| Err(not_attached(&container, &[])));
        };
        if let Some(container) = &self.forget {
            let forgotten = engine.forget(container);
            engine.close();
            return print(&format!("forgot {}\n", shown(&forgotten?)));
        }
        let mut collected = engine.collect()?;
        let repaired = engine.repair_firewall();
        let refreshed = match options.config() {
            Ok(config) => engine.refresh_resolvers(&config.dns_fallback, &mut collected.failures),
            // Without the configuration the fallback name servers are unknown.
            Err(error) => {
                warn!(log, "the name servers of containers stay as they are: {error}");
                Ok(Vec::new())
            }
        };
        engine.close();
        collected.failures.note("definitions of networks", drafts)?;
        let repaired = collected.failures.note("rules of the firewall", repaired)?;
        let refreshed = collected.failures.note("name servers of containers", refreshed)?;
        let mut text: String =
            collected.dead.iter().map(|container| format!("collected {}\n", shown(container))).collect();
        if collected.drained > 0 {
            text += &format!("finished {} interrupted detaches\n", collected.drained);
        }
        if repaired == Some(true) {
            text += "loaded the firewall's rules again\n";
        }
        for container in refreshed.iter().flatten() {
            text += &format!("brought the name servers of {} up to date\n", shown(container));
        }
        print(&text)?;
        collected.failures.into_result()
    }
}
