use ocinet::engine::Error;

use super::document::Part;

/// The notes for all commands: the last sections of ocinet(1).
pub(super) fn parts() -> Vec<Part> {
    let mut parts = vec![Part::Section("Names of containers")];
    parts.extend(NAMES.iter().map(|text| Part::paragraph(text)));
    parts.push(Part::Section("What changes nothing"));
    parts.extend(LOOKING.iter().map(|text| Part::paragraph(text)));
    let codes = Error::EXIT_CODES.iter().map(|(code, meaning)| (format!("`{code}`"), (*meaning).to_owned()));
    parts.extend([
        Part::Section("Exit status"),
        Part::paragraph("An error is one line on stderr that begins with `ocinet: `."),
        Part::Table(["code", "meaning"], codes.collect()),
        Part::Section("Files"),
        Part::table(["path", "what it holds"], &FILES),
    ]);
    parts
}

const NAMES: [&str; 3] = [
    "A CONTAINER is called by its id, its name, or the beginning of its id, here and in `container:CONTAINER` of an \
     annotation. The one of that id is meant, else the one of that name, else the only one whose id begins so. Dead \
     containers that were not collected yet count only where none that runs fits.",
    "What fits several is refused with exit code 3, and the line names them. So is an id that is also the name of another \
     container; the other is called by its own id.",
    "Ids are unique only within one root directory of a runtime, so `inspect --json` prints an array.",
];

const LOOKING: [&str; 2] = [
    "`ps`, `inspect`, `port`, `network`, `plan`, and `doctor` without `--fix` change nothing. Where the store is missing \
     or damaged, they show what the kernel holds, and say so.",
    "Text that others chose, such as ids and paths, is shown with its control, invisible and bidirectional characters \
     escaped.",
];

const FILES: [(&str, &str); 3] = [
    (
        "`/etc/ocinet/config.toml`",
        "Settings of the host, see ocinet-config(5). Every one has a default, and the file need not be there.",
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
