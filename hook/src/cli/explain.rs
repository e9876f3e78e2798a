use clap_complete::engine::ArgValueCandidates;
use slog::Logger;

use ocinet::decide::way::{Verdict, Way};
use ocinet::engine::{Question, Result, not_attached};
use ocinet::model::shown;

use super::screen::Screen;
use super::{Options, print, print_json};

/// Explain the way of a packet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Who sends: a container, a network, host, lan, or an address
    #[arg(value_name = "SRC", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    from: String,
    /// To whom: the same, with a port as in web:80 or web:53/udp; without one, what has none, such as ping
    #[arg(value_name = "DST[:PORT][/PROTOCOL]", add = ArgValueCandidates::new(crate::cli::complete::containers))]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let question = Question::parse(&self.from, &self.to)?;
        let Some(mut engine) = options.engine_to_look(log)? else { return Err(not_attached(&self.from, &[])) };
        let (from, to, Way { hops, verdict, rule, receiver }) = engine.explain(&question)?;
        let port = question.port.map(|port| format!(", port {port}/{}", question.protocol)).unwrap_or_default();
        if self.json {
            let word = match verdict {
                Verdict::Arrives => "arrives",
                Verdict::AsTheHostDecides => "as the host decides",
                Verdict::Dropped => "dropped",
                Verdict::NoWay => "no way",
            };
            return print_json(&serde_json::json!({
                "from": from, "to": to, "port": question.port, "protocol": question.protocol,
                "verdict": word, "receiver": receiver, "rule": rule, "hops": hops,
            }));
        }
        let screen = Screen::of_stdout();
        let verdict = match verdict {
            Verdict::Arrives => screen.green("arrives"),
            Verdict::AsTheHostDecides => screen.yellow("arrives where the host's rules let it"),
            Verdict::Dropped => screen.red("is dropped"),
            Verdict::NoWay => screen.red("has no way"),
        };
        let mut text = format!("{} to {}{port}: {verdict}\n", shown(&from), shown(&to));
        for (nth, hop) in hops.iter().enumerate() {
            text += &format!("{}\n", screen.wrapped(&format!("{}. {}", nth + 1, shown(hop)), "   "));
        }
        text += &format!("{}\n", screen.wrapped(&format!("=> {}", shown(&rule)), "   "));
        print(&text)
    }
}
