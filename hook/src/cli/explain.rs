use clap_complete::engine::ArgValueCandidates;
use serde_json::json;
use slog::Logger;

use ocinet::decide::way::{Elsewhere, Receiver, Verdict, Way};
use ocinet::engine::{DOES_NOT_ARRIVE, Engine, Explained, LEFT_TO_OTHERS, Question, Result};
use ocinet::model::shown;

use super::network::views_of;
use super::screen::Screen;
use super::{Options, print, print_json, report};

/// Explain the way of a packet.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Who sends: a container, a network, host, lan, or an address
    #[arg(value_name = "SRC", add = ArgValueCandidates::new(crate::cli::complete::parties))]
    from: String,
    /// To whom: the same, with a port as in web:80 or web:53/udp; without one, what has none, such as ping
    #[arg(value_name = "DST[:PORT][/PROTOCOL]", add = ArgValueCandidates::new(crate::cli::complete::parties))]
    to: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Returns the exit code: whether the packet arrives.
    pub(super) fn run(self, options: &Options, log: &Logger) -> u8 {
        match self.answer(options, log) {
            Ok(Verdict::Arrives) => 0,
            Ok(Verdict::OthersDecide | Verdict::Damaged) => LEFT_TO_OTHERS,
            Ok(Verdict::Dropped | Verdict::NoWay) => DOES_NOT_ARRIVE,
            Err(error) => report(Err(error), log),
        }
    }

    fn answer(&self, options: &Options, log: &Logger) -> Result<Verdict> {
        let question = Question::parse(&self.from, &self.to)?;
        let mut engine = match options.engine_to_look(log)? {
            Some(engine) => engine,
            // No container was attached since the host booted: networks are as they would be made.
            None => Engine::open_to_plan(&options.state_dir, options.config()?, log.clone())?,
        };
        let views = views_of(Some(&mut engine), options, log)?;
        let explained = engine.explain(&question, &views)?;
        if self.json {
            print_json(&as_json(&question, &explained))?;
        } else {
            print(&text(&question, &explained, Screen::of_stdout()))?;
        }
        Ok(explained.way.verdict)
    }
}

fn as_json(question: &Question, Explained { from, to, way, elsewhere, damaged }: &Explained) -> serde_json::Value {
    let Way { hops, verdict, rule, receiver } = way;
    let protocol = question.port.map(|_| question.protocol);
    let elsewhere: Vec<serde_json::Value> = elsewhere
        .iter()
        .map(|Elsewhere { addresses, way }| {
            let Way { verdict, rule, receiver, .. } = way;
            let receiver = receiver.as_ref().map(Receiver::to_string);
            json!({ "addresses": addresses, "verdict": word(*verdict), "receiver": receiver, "rule": rule })
        })
        .collect();
    let receiver = receiver.as_ref().map(Receiver::to_string);
    json!({
        "from": from, "to": to, "port": question.port, "protocol": protocol, "verdict": word(*verdict),
        "receiver": receiver, "rule": rule, "hops": hops, "elsewhere": elsewhere, "damaged": damaged,
    })
}

/// The word for programs.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Arrives => "arrives",
        Verdict::OthersDecide => "others decide",
        Verdict::Damaged => "damaged",
        Verdict::Dropped => "dropped",
        Verdict::NoWay => "no way",
    }
}

/// The words for people.
fn words(verdict: Verdict, screen: Screen) -> String {
    match verdict {
        Verdict::Arrives => screen.green("arrives"),
        Verdict::OthersDecide => screen.yellow("arrives where others let it pass"),
        Verdict::Damaged => screen.red("arrives only once what is damaged is mended"),
        Verdict::Dropped => screen.red("is dropped"),
        Verdict::NoWay => screen.red("has no way"),
    }
}

/// The verdict, the hops, and what decides; then what is otherwise at other addresses of the host.
fn text(question: &Question, Explained { from, to, way, elsewhere, damaged }: &Explained, screen: Screen) -> String {
    let port = question.port.map(|port| format!(", port {port}/{}", question.protocol)).unwrap_or_default();
    let mut text = format!("{} to {}{port}: {}\n", shown(from), shown(to), words(way.verdict, screen));
    let mut line = |line: String| text += &format!("{}\n", screen.wrapped(&line, "   "));
    for (nth, hop) in way.hops.iter().enumerate() {
        line(format!("{}. {}", nth + 1, shown(hop)));
    }
    line(format!("=> {}", shown(&way.rule)));
    for Elsewhere { addresses, way } in elsewhere {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        line(format!("at {} it {}: {}", addresses.join(", "), words(way.verdict, screen), shown(&way.rule)));
    }
    for name in damaged {
        line(format!("{} is damaged: see ocinet doctor", shown(name)));
    }
    text
}
