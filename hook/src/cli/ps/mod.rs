mod filter;
mod line;
mod sidecar;

use std::time::Duration;

use serde_json::Value;
use slog::Logger;

use ocinet::engine::Result;
use ocinet::kernel::{self, Watch};

use self::filter::Filters;
pub(super) use self::line::Line;
pub(super) use self::sidecar::Sidecar;
use super::screen::Screen;
use super::table::Table;
use super::{Options, listing, print, print_json, print_table};

/// List containers.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Also those that are gone but for a link, which the kernel is still deleting
    #[arg(long, short)]
    all: bool,
    /// Print ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Only those of which this holds: id=, name=, network=, port=8080[/udp], status=, label=KEY[=VALUE], which is an
    /// annotation of config.json; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Print this of each, a template of Go with Docker's fields such as 'table {{.Names}}\t{{.Ports}}', and .Addresses;
    /// json prints a line of JSON of each
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["json", "quiet"])]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// What went through the links of each, bytes and packets, instead of ports and ages
    #[arg(long, conflicts_with_all = ["format", "quiet"])]
    stats: bool,
    /// Show it again whenever something changes, and every two seconds, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long a watcher waits for a change before it looks without one: ages and counters go on by themselves.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What belongs together is written within this time.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Clears a terminal and goes to its beginning (ECMA-48, ED and CUP).
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// A container in the list.
enum Listed<'l> {
    Container(&'l Line),
    /// One that shares the network of the container above it, or of one that is gone.
    Sidecar(&'l Sidecar),
}

/// All that is asked for.
#[derive(Default)]
struct List {
    /// Each with those that share its network.
    lines: Vec<Line>,
    /// Those whose network is gone.
    cut_off: Vec<Sidecar>,
}

impl Arguments {
    pub(super) fn run(self, options: &Options, log: &Logger) -> Result<()> {
        let filters = Filters::parse(&self.filter)?;
        if !self.watch {
            return self.show(&self.list(&filters, options, log)?);
        }
        kernel::state_dir(&options.state_dir)?;
        let watch = Watch::of(&options.state_dir)?;
        loop {
            let list = self.list(&filters, options, log)?;
            if Screen::of_stdout().columns.is_some() {
                print(CLEAR)?;
            }
            self.show(&list)?;
            // The reader of the output has ended.
            if kernel::has_no_reader() || watch.wait(Some(LOOK_AGAIN), AT_ONCE)?.gone {
                return Ok(());
            }
        }
    }

    fn list(&self, filters: &Filters, options: &Options, log: &Logger) -> Result<List> {
        let Some(mut engine) = options.engine_to_look(log)? else { return Ok(List::default()) };
        let sandboxes = if self.all { engine.all_after(0, u32::MAX)? } else { engine.sandboxes()? };
        let counted = if self.stats { Some(engine.traffic()?) } else { None };
        let mut sidecars = Sidecar::all(&mut engine)?;
        sidecars.retain(|sidecar| filters.accept_sidecar(sidecar));
        let mut list = List::default();
        for sandbox in sandboxes {
            let Some(mut line) = Line::of(sandbox, &mut engine)? else { continue };
            counted.iter().for_each(|counted| line.count(counted));
            let (its, others) = sidecars.into_iter().partition(|sidecar| sidecar.member.is_of(&line.sandbox));
            (line.members, sidecars) = (its, others);
            if filters.accept(&line) {
                list.lines.push(line);
            } else {
                // Asked for by itself, it is listed without the one above it.
                list.cut_off.append(&mut line.members);
            }
        }
        list.cut_off.extend(sidecars);
        Ok(list)
    }

    fn show(&self, list: &List) -> Result<()> {
        let now = kernel::now();
        let listed = || list.listed();
        if self.quiet {
            return print(&listed().map(|one| format!("{}\n", one.id(self.no_trunc))).collect::<String>());
        }
        if self.json {
            return print_json(&list.lines);
        }
        if let Some(format) = self.format.as_deref().filter(|format| format.trim() != "table") {
            return listing::formatted(format, listed().map(|one| one.fields(self.no_trunc, now)), line::head);
        }
        let heads = match self.stats {
            true => ["CONTAINER", "NAME", "NETWORK", "ADDRESS", "RECEIVED", "SENT", "STATUS"],
            false => ["CONTAINER", "NAME", "NETWORK", "ADDRESS", "PORTS", "AGE", "STATUS"],
        };
        let mut table = Table::new(heads).judge(6, line::UP);
        for one in listed() {
            one.rows(self, now).into_iter().for_each(|row| table.row(row));
        }
        print_table(&table)
    }
}

impl List {
    fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        let lines = self.lines.iter();
        let with_sidecars = lines
            .flat_map(|line| [Listed::Container(line)].into_iter().chain(line.members.iter().map(Listed::Sidecar)));
        with_sidecars.chain(self.cut_off.iter().map(Listed::Sidecar))
    }
}

impl Listed<'_> {
    fn id(&self, whole: bool) -> String {
        match self {
            Self::Container(line) => line.id(whole),
            Self::Sidecar(sidecar) => line::id(&sidecar.member.container, whole),
        }
    }

    fn fields(&self, whole: bool, now: i64) -> Value {
        match self {
            Self::Container(line) => line.fields(whole, now),
            Self::Sidecar(sidecar) => sidecar.fields(whole, now),
        }
    }

    fn rows(&self, arguments: &Arguments, now: i64) -> Vec<[String; 7]> {
        match self {
            Self::Container(line) if arguments.stats => line.counted(arguments.no_trunc),
            Self::Container(line) => line.rows(arguments.no_trunc, now),
            // What goes through the link is counted once, for the one above.
            Self::Sidecar(_) if arguments.stats => Vec::new(),
            Self::Sidecar(sidecar) => vec![sidecar.row(arguments.no_trunc, now)],
        }
    }
}
