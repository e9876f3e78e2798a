use slog::Logger;

use ocinet::engine::Result;
use ocinet::log::with_journal;

use super::{Options, print};

pub(super) fn run(options: &Options, log: &Logger) -> Result<()> {
    let log = with_journal(log);
    let Some(mut engine) = options.engine(&log)? else { return Ok(()) };
    let collected = engine.collect()?;
    let mended = engine.mend_firewall()?;
    engine.close()?;
    let mut text: String = collected.dead.iter().map(|container| format!("collected {container}\n")).collect();
    if collected.drained > 0 {
        text += &format!("finished {} interrupted detaches\n", collected.drained);
    }
    if mended {
        text += "loaded the firewall's rules again\n";
    }
    print(&text)
}
