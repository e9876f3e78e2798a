use serde::Serialize;
use slog::Logger;

use ocinet::decide::liveness::Life;
use ocinet::engine::{Engine, Result};
use ocinet::model::{Mode, Sandbox, State};

use super::table::Table;
use super::{Options, print_json, print_table};

/// List containers.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also those that are gone but for a link, which the kernel is still deleting
    #[arg(long, short)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let Some(mut engine) = options.engine_to_look(log)? else { return self.show(&[]) };
        let sandboxes = if self.all { engine.all_after(0, u32::MAX)? } else { engine.sandboxes()? };
        let line = |sandbox| Line { status: status(&sandbox, &mut engine), sandbox };
        let lines: Vec<Line> = sandboxes.into_iter().map(line).collect();
        self.show(&lines)
    }

    fn show(&self, lines: &[Line]) -> Result<()> {
        if self.json {
            return print_json(&lines);
        }
        let mut table = Table::new(["CONTAINER", "NETWORK", "ADDRESS", "PORTS", "STATE"]).judge(4, "attached");
        for Line { sandbox, status } in lines {
            table.row([
                sandbox.container.to_string(),
                networks(sandbox),
                addresses(sandbox),
                ports(sandbox),
                status.clone(),
            ]);
        }
        print_table(&table)
    }
}

/// A container as it is printed.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    sandbox: Sandbox,
    /// Its present status, which is not in the store.
    status: String,
}

/// The state of the sandbox. For an attached one, whether its container has ended or cannot be examined.
fn status(sandbox: &Sandbox, engine: &mut Engine) -> String {
    match sandbox.state {
        State::Attached => match engine.life(sandbox) {
            Life::Alive => sandbox.state.to_string(),
            Life::Dead => "dead".into(),
            Life::Unknown(_) => "unknown".into(),
        },
        state => state.to_string(),
    }
}

fn addresses(sandbox: &Sandbox) -> String {
    let addresses = sandbox.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|address| address.addr().to_string()).collect::<Vec<_>>().join(", ")
}

/// The networks that it is on. One that has left its last network is on none of them; other modes have none.
fn networks(sandbox: &Sandbox) -> String {
    match &sandbox.endpoints[..] {
        [] if sandbox.mode == Mode::Networks => "-".into(),
        [] => sandbox.mode.to_string(),
        endpoints => endpoints.iter().map(|endpoint| endpoint.network.as_str()).collect::<Vec<_>>().join(", "),
    }
}

/// The published ports; dormant ones lead nowhere.
fn ports(sandbox: &Sandbox) -> String {
    let dormant = if sandbox.has_dormant_ports() { " (dormant)" } else { "" };
    sandbox.reached_ports().iter().map(|mapping| format!("{mapping}{dormant}")).collect::<Vec<_>>().join(", ")
}
