use ocinet::engine::Error;

use super::document::Part;

/// The notes for all commands: the last sections of ocinet(1).
pub(super) fn parts() -> Vec<Part> {
    let mut parts = vec![Part::Section("Names of containers")];
    parts.extend(NAMES.iter().map(|text| Part::paragraph(text)));
    parts.extend([
        Part::Section("States of containers"),
        Part::paragraph("`ocinet ps` shows them in the column STATUS, and `ocinet ps --json` in the field `status`:"),
        Part::table(["state", "meaning"], &STATES),
        Part::Section("What changes nothing"),
    ]);
    parts.extend(LOOKING.iter().map(|text| Part::paragraph(text)));
    let codes = Error::EXIT_CODES.iter().map(|(code, meaning)| (format!("`{code}`"), (*meaning).to_owned()));
    parts.extend([
        Part::Section("Exit status"),
        Part::paragraph(
            "An error is one line on stderr that begins with `ocinet: `. A command for several things goes on after a \
             failure, and its exit code is that of the first.",
        ),
        Part::Table(["code", "meaning"], codes.collect()),
        Part::Section("Files"),
        Part::table(["path", "what it holds"], &FILES),
    ]);
    parts
}

const NAMES: [&str; 3] = [
    "A CONTAINER is called by its id, its name, or the beginning of its id, here and in `container:CONTAINER` of an \
     annotation. ocinet looks for a container with exactly that id. If there is none, it looks for the name, and then \
     for ids with that beginning. Dead containers that were not collected yet count only where none that runs fits.",
    "Names need not be unique. Where several containers fit, the command is refused with exit code 3, and the line names \
     them: say the whole id of one. An id that is also the name of another container is refused, too; the other is \
     called by its own id.",
    "Ids are unique only within one root directory of a runtime, so `inspect --json` prints an array.",
];

const STATES: [(&str, &str); 7] = [
    ("`attaching`", "A hook is at work. Where it was killed, `ocinet gc` takes away what it made."),
    ("`up`", "It is wired, and its process runs. Under containerd it stays so until its task is deleted."),
    (
        "`damaged`",
        "It runs, and a link of it is missing, set down or without its guard: `ocinet doctor` says which. Rules of the \
         firewall and files are not looked at.",
    ),
    (
        "`dead`",
        "It was attached, and its process has ended. It keeps its address and ports until its runtime deletes it, \
         `ocinet gc` takes it away, or the attach of another container needs what it holds.",
    ),
    (
        "`unknown`",
        "It was attached, and whether it runs cannot be seen from here. It keeps what it holds, and `ocinet doctor` says \
         why.",
    ),
    ("`detaching`", "It is being taken away. Where that was cut off, `ocinet gc` goes on."),
    (
        "`draining`",
        "With `--all` only: it is gone but for its link, which the kernel is still deleting. Until then no other \
         container gets its address.",
    ),
];

const LOOKING: [&str; 2] = [
    "`ps`, `inspect`, `port`, `network ls`, `network inspect`, `plan`, `explain`, `graph`, and `doctor` without `--fix` change \
     nothing. Where the store is missing or damaged, they show what the kernel holds, and say so.",
    "Text that others chose, such as ids and paths, is shown with its control, invisible and bidirectional characters \
     escaped.",
];

const FILES: [(&str, &str); 4] = [
    (
        "`/etc/ocinet/config.toml`",
        "Settings of the host, see ocinet-config(5). Every one has a default, and the file need not be there.",
    ),
    (
        "`/etc/ocinet/networks`",
        "The definitions of networks, a file NAME.toml each: `ocinet network create` writes them, or a person does. Those \
         in `/run/ocinet/networks` are gone when the host restarts.",
    ),
    (
        "`/run/ocinet`",
        "Leases and records of this boot, for root alone. A hook that is called with another `--state-dir` needs it in \
         every stage.",
    ),
    (
        "`--log-file FILE`",
        "A regular file that root owns, or none yet. To anything else, such as a FIFO, a link or another user's file, \
         nothing is written: a warning says so, and all else goes on.",
    ),
];
