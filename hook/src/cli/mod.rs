//! The command line: one file for each command.

mod agent;
mod asked;
mod bugreport;
mod complete;
mod completion;
mod config;
mod doctor;
mod events;
mod explain;
mod gc;
mod graph;
mod hook;
mod inspect;
mod listing;
mod log;
mod man;
mod metrics;
mod network;
mod options;
mod plan;
mod podman;
mod port;
mod precreate;
mod prepare;
mod ps;
mod reset;
mod resolve;
mod run;
mod screen;
mod table;
mod template;
mod usage;
mod warm;
mod words;

use std::io::Write;

use clap::{Parser, Subcommand};
use slog::{Logger, crit};

use ocinet::engine::{Error, Result};
use ocinet::kernel;
use ocinet::log::with_records;
use ocinet::model::shown_json;

pub use self::options::Options;
use self::screen::Screen;
use self::usage::in_our_words;
pub use self::usage::usage;

/// Wires the network of OCI containers, without a daemon.
///
/// An OCI runtime calls ocinet hook when it starts a container and when it has deleted it; annotations of the container
/// say what to do, see ocinet-annotations(7). The other commands show what was done.
#[derive(Debug, Parser)]
#[command(
    name = "ocinet",
    version = ocinet::version!(),
    disable_help_subcommand = true,
    subcommand_value_name = "COMMAND",
    after_help = "Examples:\n  ocinet ps\n  ocinet inspect web"
)]
pub struct Arguments {
    #[command(flatten)]
    pub options: Options,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Parses the command line of this process.
    ///
    /// # Errors
    /// What clap says of it, or the help that it asks for.
    pub fn of_this_process() -> std::result::Result<Self, clap::Error> {
        let line = || in_our_words(std::env::args_os().collect()).into_iter();
        // To make all commands takes longer than to parse one, and a container waits for the hook.
        if line().nth(1).is_some_and(|word| word == "hook")
            && let Ok(HookLine { options, command: HookAlone::Hook(arguments) }) = HookLine::try_parse_from(line())
        {
            return Ok(Self { options, command: Command::Hook(arguments) });
        }
        if complete::answer(line().collect())? {
            std::process::exit(0);
        }
        Self::try_parse_from(line())
    }
}

/// The command line of a hook. Help and errors come from [`Arguments`].
#[derive(Debug, Parser)]
#[command(disable_help_flag = true, disable_help_subcommand = true)]
struct HookLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: HookAlone,
}

#[derive(Debug, Subcommand)]
enum HookAlone {
    Hook(hook::Arguments),
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Wire or unwire a container: called by an OCI runtime, with the container's state on stdin
    ///
    /// If it fails, the runtime does not start the container.
    #[command(
        after_help = "Example, in a bundle's config.json:\n  \"hooks\": {\n    \"createRuntime\": [{ \"path\": \"/usr/bin/ocinet\", \"args\": [\"ocinet\", \"hook\", \"createRuntime\"] }],\n    \"poststop\": [{ \"path\": \"/usr/bin/ocinet\", \"args\": [\"ocinet\", \"hook\", \"poststop\"] }]\n  }"
    )]
    Hook(hook::Arguments),
    /// Edit a bundle's config.json so that its runtime calls ocinet
    ///
    /// What is asked for comes to what config.json says already: ports, name servers, hosts and the like are added, a
    /// network or a name takes the place of the one before.
    ///
    /// It says in one line what the bundle asks for then.
    ///
    /// Fields that ocinet does not know and hooks of other tools stay.
    ///
    /// For `container:CONTAINER` that container has to run, and this has to be repeated after each start of it.
    #[command(
        after_help = "Examples:\n  ocinet prepare -p 8080:80 /srv/web && runc run --bundle /srv/web web\n  ocinet prepare --network container:web /srv/sidecar\n  ocinet prepare --reset -p 8081:80 /srv/web\n  ocinet prepare --undo /srv/web"
    )]
    Prepare(Box<prepare::Arguments>),
    /// Prepare a bundle, and have its runtime run it
    ///
    /// The same as `ocinet prepare` and `runc run --bundle BUNDLE ID`: the runtime takes the place of this process, and
    /// its exit code is that of the container.
    ///
    /// It says on stderr in one line what the bundle asks for then. Where another container or program has a port or an
    /// address of that, it is refused, and config.json stays as it was.
    #[command(
        after_help = "Examples:\n  ocinet run --detach -p 8080:80 /srv/web\n  ocinet run --reset --runtime crun --network backend /srv/db db\n  ocinet run --detach /srv/web web -- --pid-file /run/web.pid"
    )]
    Run(Box<run::Arguments>),
    /// Show what an attach would do, in five lines and as commands that you could type; nothing is changed
    ///
    /// The lines are its address, its ports, its files, what is new on the host, and what is missing for ocinet to be
    /// called at all. With flags, as for a bundle that `ocinet prepare` was given them for.
    ///
    /// Of a container that runs it is the next start, which a line above them says.
    ///
    /// `$PID` in the commands is the pid of the container's first process. A container that was wired by hand is unknown to
    /// ocinet: `ocinet ps` does not show it, and no hook detaches it.
    #[command(
        after_help = "Examples:\n  ocinet plan /srv/web\n  ocinet plan -p 8080:80 --network backend --verbose /srv/web"
    )]
    Plan(Box<plan::Arguments>),
    /// List containers, their addresses and published ports
    ///
    /// See the states of containers in ocinet(1) for the column STATUS. Below a container are those that share its
    /// network; one whose network is gone is `cut off`, and has to be started again after that one.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  ocinet ps\n  ocinet ps --stats --watch\n  ocinet ps --filter network=backend --format '{{.Names}}\\t{{.Addresses}}'"
    )]
    Ps(ps::Arguments),
    /// Show all about a container's network
    #[command(after_help = "Examples:\n  ocinet inspect web\n  ocinet inspect web --format '{{.Addresses}}'")]
    Inspect(inspect::Arguments),
    /// Show a container's published ports
    #[command(after_help = "Example:\n  ocinet port web 80/tcp")]
    Port(port::Arguments),
    /// Define networks, and show them and who is on them
    #[command(subcommand, after_help = "Example:\n  ocinet network ls")]
    Network(Box<network::Command>),
    /// Say how a packet goes from one container to another, and which rule decides
    ///
    /// It is computed from the networks, the containers and their published ports, for the first packet of a new
    /// connection; nothing is sent.
    ///
    /// Of the host as a destination it is said at which of its addresses: at one where a container gets the packet, or else
    /// at the nearest; and what becomes of it at others, where that is not the same.
    ///
    /// Whether a program listens there is not looked at, nor whether the kernel holds what it should, but for the links of
    /// the containers at both ends: that does ocinet doctor.
    ///
    /// The rules are named as nftables has them; those of iptables mean the same. Those of other programs, and the
    /// operator's own, are not looked at.
    ///
    /// The exit code is 0 where the packet arrives, and 6 where it does not. It is 7 where what is not ocinet's decides:
    /// the host's own rules, another router, or by which link it comes.
    ///
    /// It is 7, too, where ocinet keeps the port of the host for a container and does not lead it there, and where a
    /// container at one of the ends is damaged.
    #[command(
        after_help = "Examples:\n  ocinet explain web db:5432\n  ocinet explain lan host:8080\n  ocinet explain frontend 192.0.2.1:53/udp"
    )]
    Explain(explain::Arguments),
    /// Draw the networks, the containers on them, their published ports, and the host's uplinks
    ///
    /// As text, for Graphviz (dot), for Mermaid, or as a picture: svg is one file, html a page with it. Nothing of them is
    /// loaded from elsewhere, and what others chose, such as names, is shown as text.
    ///
    /// A container on several networks is drawn on each; in the graphs, it is joined to each.
    #[command(after_help = "Examples:\n  ocinet graph\n  ocinet graph --format html > networks.html")]
    Graph(graph::Arguments),
    /// Print the addresses of a container's name, as containers on its networks are told them
    #[command(after_help = "Examples:\n  ocinet resolve web\n  ocinet resolve --network backend web")]
    Resolve(resolve::Arguments),
    /// Show the name server of containers on networks of one's own
    #[command(subcommand, after_help = "Example:\n  ocinet agent status")]
    Agent(agent::Command),
    /// Follow what is attached, detached, connected and disconnected on this host, and its networks
    ///
    /// A line for each, until interrupted. What was attached before is not told, and neither is what came and went again
    /// between two looks: `ocinet log` has all of it.
    #[command(
        after_help = "Examples:\n  ocinet events\n  ocinet events --filter container=web --filter event=detached --json"
    )]
    Events(events::Arguments),
    /// Show what happened to containers of this host, and what was refused or warned of
    ///
    /// The last few hundred attaches, detaches, refusals and warnings are kept in the state directory, whatever the
    /// journal and the runtime do with them: podman with crun shows no reason of a refusal.
    ///
    /// They go with a restart of the host, and with `ocinet reset`.
    #[command(after_help = "Examples:\n  ocinet log\n  ocinet log web\n  ocinet log --follow --tail 0")]
    Log(log::Arguments),
    /// Take away what dead containers left behind
    ///
    /// It also loads rules that were flushed, and renews the name servers of running containers. A timer runs it every
    /// five minutes.
    ///
    /// What cannot be looked at is not taken for dead: it stays, is `unknown` in `ocinet ps`, and `ocinet doctor` says
    /// why.
    ///
    /// Run it with all rights of root.
    #[command(after_help = "Examples:\n  ocinet gc\n  ocinet gc --forget web")]
    Gc(gc::Arguments),
    /// Say what is wrong, ours or not, and put right what is ours
    ///
    /// On a host where no container was attached yet, it says what ocinet needs there and whether it has it.
    ///
    /// With a container, or the folder of a bundle, it says why that one has no network.
    ///
    /// The exit code is 1 where something is wrong; with `--fix`, where something is still wrong.
    #[command(
        after_help = "Examples:\n  ocinet doctor\n  ocinet doctor --fix\n  ocinet doctor web\n  ocinet doctor /srv/web"
    )]
    Doctor(doctor::Arguments),
    /// Check and show the settings of this host
    #[command(subcommand, after_help = "Examples:\n  ocinet config check\n  ocinet config show")]
    Config(config::Command),
    /// Write what Prometheus reads of this host
    ///
    /// It has the containers, endpoints, free addresses, published ports and bytes, whether the rules are whole, and of
    /// the records that `ocinet log` still has, the refusals and how long attaches took.
    ///
    /// The textfile collector of the node exporter reads FILE, which is never a half; its name has to end with .prom.
    #[command(after_help = "Example:\n  ocinet metrics /var/lib/prometheus/node-exporter/ocinet.prom")]
    Metrics(metrics::Arguments),
    /// Write what a bug report needs into one file
    ///
    /// It has the findings of `ocinet doctor`, the containers and networks, the settings, the log, and what the host says
    /// of its links, addresses, routes and rules. Nothing is sent anywhere.
    #[command(after_help = "Example:\n  ocinet bugreport")]
    Bugreport(bugreport::Arguments),
    /// Take everything of ocinet off this host
    #[command(after_help = "Example:\n  ocinet reset")]
    Reset(reset::Arguments),
    /// Bring the installed programs into large pages of the page cache, so that they start faster
    ///
    /// It saves 0.5 to 0.8 ms of each attach: skip it unless many containers start on the host.
    ///
    /// After a boot, the kernel reads a program's file from the disk into pages of 4 KiB. This brings the file into
    /// huge pages. The kernel may drop it again when memory is short.
    ///
    /// A unit of systemd runs this at boot, and an installation at its end.
    ///
    /// The file is read anew, and no process may run from it meanwhile. This waits 2 s for such a process to end; else
    /// the exit code is 3, and the file stays as it is.
    ///
    /// Containers that start meanwhile only start more slowly. Where the kernel or the file system has no large pages,
    /// it says so, and that is no error.
    #[command(after_help = "Example:\n  ocinet warm")]
    Warm(warm::Arguments),
    /// Show the manual page of a command, or write all pages to a directory
    ///
    /// On a terminal, man(1) shows it, without an installation; in a pipe it is the page's source.
    #[command(after_help = "Examples:\n  ocinet man ps\n  ocinet man network ls\n  ocinet man /usr/local/share/man")]
    Man(man::Arguments),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  ocinet completion bash > /etc/bash_completion.d/ocinet")]
    Completion(completion::Arguments),
}

impl Command {
    /// Runs the command, and prints an error in one line.
    /// Returns the exit code.
    pub fn run(self, options: &Options, log: &Logger) -> u8 {
        let recorded = self.changes().then(|| with_records(log, &options.state_dir));
        let log = recorded.as_ref().unwrap_or(log);
        let done = match self {
            Self::Hook(arguments) => return arguments.run(options, log),
            Self::Prepare(arguments) => arguments.run(options, log),
            Self::Run(arguments) => arguments.run(options, log),
            Self::Plan(arguments) => arguments.run(options, log),
            Self::Ps(arguments) => arguments.run(options, log),
            Self::Inspect(arguments) => arguments.run(options, log),
            Self::Port(arguments) => arguments.run(options, log),
            Self::Network(command) => command.run(options, log),
            Self::Explain(arguments) => return arguments.run(options, log),
            Self::Graph(arguments) => arguments.run(options, log),
            Self::Resolve(arguments) => arguments.run(options, log),
            Self::Agent(command) => command.run(options, log),
            Self::Events(arguments) => arguments.run(options, log),
            Self::Log(arguments) => arguments.run(options),
            Self::Gc(arguments) => arguments.run(options, log),
            Self::Doctor(arguments) => return arguments.run(options, log),
            Self::Config(command) => command.run(options),
            Self::Metrics(arguments) => arguments.run(options, log),
            Self::Bugreport(arguments) => arguments.run(options, log),
            Self::Reset(arguments) => arguments.run(options, log),
            Self::Warm(arguments) => arguments.run(options),
            Self::Man(arguments) => arguments.run(),
            Self::Completion(arguments) => arguments.run(),
        };
        report(done, log)
    }

    /// Whether it changes containers or networks, so that its refusals and warnings are kept. A hook says itself of which
    /// container its are.
    fn changes(&self) -> bool {
        match self {
            Self::Gc(_) | Self::Reset(_) => true,
            Self::Network(command) => command.changes(),
            _ => false,
        }
    }
}

/// The exit code.
fn report(done: Result<()>, log: &Logger) -> u8 {
    let Err(error) = done else { return 0 };
    let hint = rights_hint(&error, kernel::is_root(), kernel::has_all_ids()).unwrap_or_default();
    crit!(log, "{error}{hint}"; "exit" => error.exit_code());
    error.exit_code()
}

/// What an ordinary user has to be told, and a rootless runtime: that it is not the command's fault.
fn rights_hint(error: &Error, is_root: bool, has_all_ids: bool) -> Option<&'static str> {
    let is_of_rights = match error {
        Error::Kernel(kernel::Error::Refused { source, .. }) => {
            let refused = [std::io::ErrorKind::PermissionDenied, std::io::ErrorKind::Other];
            refused.contains(&source.kind()) || source.to_string().contains("another user")
        }
        Error::Store(_) => true,
        _ => false,
    };
    match (is_root, has_all_ids) {
        (false, _) if is_of_rights => {
            Some("; run it as root: links, rules and the namespaces of containers are root's, as with sudo ocinet")
        }
        (true, false) if is_of_rights => Some(
            "; this is root of a user namespace, as under a rootless runtime, and the host's links and rules are out of its \
             reach: run the runtime as root of the host",
        ),
        _ => None,
    }
}

/// Writes to stdout; a reader that goes away early (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Kernel(kernel::Error::refused("write to stdout", error)))
        }
        _ => Ok(()),
    }
}

/// Fits the table to the terminal, where stdout is one.
fn print_table<const N: usize>(table: &table::Table<N>) -> Result<()> {
    print(&table.render(Screen::of_stdout()))
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| kernel::Error::refused("write JSON", std::io::Error::other(error)))?;
    print(&(shown_json(&text) + "\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn walk(command: &mut clap::Command, path: &str, visit: &mut impl FnMut(&str, String)) {
        let path = format!("{path} {}", command.get_name());
        visit(&path, command.render_long_help().to_string());
        command.get_subcommands_mut().for_each(|command| walk(command, &path, visit));
    }

    #[test]
    fn every_help_has_an_example() {
        let mut seen = 0;
        walk(&mut Arguments::command(), "", &mut |path, help| {
            seen += 1;
            let example = help.split_once("Example").unwrap_or_else(|| panic!("{path} has no example")).1;
            let example = example.split_once('\n').map_or("", |(_, lines)| lines);
            assert!(example.starts_with("  ") && !example.trim().is_empty(), "{path}: {example:?}");
        });
        assert!(seen > 6, "{seen}");
    }

    #[test]
    fn an_ordinary_user_is_told_why() {
        let refused = |source: std::io::Error| Error::Kernel(kernel::Error::refused("create bridge ocinet0", source));
        let denied = || refused(std::io::Error::from_raw_os_error(libc_eperm()));
        assert!(rights_hint(&denied(), false, true).unwrap().contains("as root"));
        assert!(rights_hint(&denied(), true, false).unwrap().contains("rootless"));
        assert_eq!(rights_hint(&denied(), true, true), None);
        let theirs = refused(std::io::Error::other("belongs to another user"));
        assert!(rights_hint(&theirs, false, true).is_some());
        assert_eq!(rights_hint(&Error::NotFound("web".into()), false, true), None);
    }

    /// EPERM, which no crate of this program's own names.
    fn libc_eperm() -> i32 {
        1
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
