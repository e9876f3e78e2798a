use slog::Logger;

use ocinet::driver::Setting;
use ocinet::engine::Result;
use ocinet::kernel::Records;
use ocinet::model::{ChangedSetting, shown};

use super::{Options, print};

/// Take everything of ocinet off this host.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also while containers run: they are left with lo alone, and have to be started again
    #[arg(long, short)]
    force: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let Some(mut engine) = options.engine_to_undo(log)? else {
            return Ok(Records::of(&options.state_dir).remove()?);
        };
        let reset = engine.reset(self.force)?;
        engine.close();
        // Last, since what was done until here was recorded, too.
        Records::of(&options.state_dir).remove()?;
        let mut text: String =
            reset.containers.iter().map(|container| format!("detached {}\n", shown(container))).collect();
        text.extend(reset.members.iter().map(|container| {
            format!("cut off {}, which shared the network of another; it has to be started again\n", shown(container))
        }));
        text.extend(reset.shared.iter().map(|what| format!("deleted {what}\n")));
        text.extend(reset.passes.iter().map(|place| format!("took the passage for containers out of {place}\n")));
        text.extend(reset.firewalls.iter().map(|kind| format!("deleted the rules kept by {kind}\n")));
        text.extend(reset.operators_chains.iter().map(|chain| format!("left {chain}, which has rules of yours\n")));
        if let Some(socket) = reset.serving {
            let end = "systemctl disable --now ocinet.socket ocinet.service, or end the process, and reset again";
            text +=
                &format!("left {}, on which a service of ocinet listens: {end}\n", shown(&socket.to_string_lossy()));
        }
        for settings in &reset.forwarding_off {
            let (name, words) = (settings.last().map(Setting::dotted).unwrap_or_default(), Setting::words(settings));
            text += &format!("{name} is 0 again; if something else relies on it: sysctl -w {words}\n");
        }
        text.extend(reset.put_back.iter().map(|ChangedSetting { key, from, .. }| format!("{key} is {from} again\n")));
        print(&text)
    }
}
