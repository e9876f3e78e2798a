//! What the programs of iptables say.
//!
//! Their exit codes alone tell little: 1 is "no such rule" and "the kernel refused", 2 is "no such chain to jump to"
//! and "bad input" (`enum xtables_exittype`, xtables.h). So absence is told by their words, which are not translated,
//! and with iptables-legacy-restore, which says but the number of a line, by what the line asked. Everything else is an
//! error.

use std::fmt;
use std::path::Path;

use super::one_family::OneFamily;
use crate::firewall::iptables::Table;
use crate::kernel::child_process::{self, Ended};
use crate::kernel::error::{Error, Result};
use crate::kernel::fs::holders;

/// How long its programs wait for the lock of iptables-legacy, in seconds: less than they may take, so that it is they
/// who say what they waited for.
const PATIENCE: &str = "10";

/// That lock (`XT_LOCK_NAME`, iptables/xshared.h).
pub(super) const LOCK: &str = "/run/xtables.lock";

/// What our chains are called.
const OURS: &str = "OCINET-";

/// What came of a question or a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// It was answered, or done.
    Done(T),
    /// A rule or a chain that it names is not there, in the program's words.
    Absent(String),
}

impl OneFamily {
    /// Gives a document to `iptables-restore`.
    ///
    /// # Errors
    /// When it fails for anything but the absence of something that the document names.
    pub(super) fn restore(&self, input: &str) -> Result<Answer<()>> {
        let ended = child_process::end_of(self.restore, &["--noflush", "-w", PATIENCE], input)?;
        match ended.code {
            0 => Ok(Answer::Done(())),
            _ if names_what_is_absent(&ended, input) => Ok(Answer::Absent(complaint(&ended))),
            _ => Err(self.failure(self.restore, &ended)),
        }
    }

    /// Gives a document to `iptables-restore` in which everything is there that it names.
    pub(super) fn restore_all(&self, input: &str) -> Result<()> {
        match self.restore(input)? {
            Answer::Done(()) => Ok(()),
            Answer::Absent(complaint) => Err(Error::Program(format!("{} failed: {complaint}", self.restore))),
        }
    }

    /// The lines that `command` prints.
    ///
    /// # Errors
    /// When it fails for anything but the absence of something that it names.
    pub(super) fn ask(&self, table: Table, command: &str) -> Result<Answer<Vec<String>>> {
        let table = table.to_string();
        let words: Vec<&str> = ["-t", &table, "-w", PATIENCE].into_iter().chain(command.split(' ')).collect();
        let ended = child_process::end_of(self.program, &words, "")?;
        match ended.code {
            0 => Ok(Answer::Done(ended.stdout.lines().map(str::to_owned).collect())),
            _ if names_what_is_absent(&ended, "") => Ok(Answer::Absent(complaint(&ended))),
            _ => Err(self.failure(&format!("{} -t {table} {command}", self.program), &ended)),
        }
    }

    fn failure(&self, program: &str, ended: &Ended) -> Error {
        if ended.code == 4 && ended.stderr.contains("xtables lock") {
            return self.locked(PATIENCE);
        }
        Error::Program(format!("{program} failed (exit status {}): {}", ended.code, complaint(ended)))
    }

    /// The error about the lock of iptables-legacy, with the processes that hold it.
    pub(super) fn locked(&self, seconds: impl fmt::Display) -> Error {
        let who = match holders(Path::new(LOCK), 0) {
            holders if holders.is_empty() => "another process".to_owned(),
            holders => holders.join(", "),
        };
        let program = self.program;
        Error::Deadline(format!("waited {seconds} s for {LOCK}, the lock of {program}; {who} holds it"))
    }
}

/// The first line of a complaint that is no warning, no word about waiting for the lock, and not the program's name and
/// version alone: iptables-nft-restore puts what the kernel refused on lines of its own after that (`mnl_append_error`,
/// iptables/nft.c).
fn complaint(ended: &Ended) -> String {
    complaints(ended).next().unwrap_or(&ended.complaint).to_owned()
}

fn complaints(ended: &Ended) -> impl Iterator<Item = &str> {
    let says_why = |line: &&str| {
        let text = line.trim();
        let is_name_alone = text.ends_with("(nf_tables):") || text.ends_with("(legacy):");
        let is_warning = text.starts_with('#') || text.starts_with("Warning: ");
        !text.is_empty() && !is_name_alone && !is_warning && !text.contains("currently holding the xtables lock")
    };
    ended.stderr.lines().filter(says_why)
}

/// Whether the program failed since a rule or a chain that it was told of is not there. The texts are those of iptables
/// 1.8.9, of both variants.
fn names_what_is_absent(ended: &Ended, input: &str) -> bool {
    let Some(complaint) = complaints(ended).next() else { return false };
    // Of a document, the line at which it ended (both count from 1), and what it says of it.
    let line = complaint.split_once(": line ").and_then(|(_, rest)| rest.split_once(" failed"));
    let asked = line.and_then(|(number, _)| input.lines().nth(number.parse::<usize>().ok()?.checked_sub(1)?));
    let names_a_rule = |line: &str| line.starts_with("-C ") || line.starts_with("-D ");
    match ended.code {
        // iptables-legacy-restore says no more.
        1 if line.is_some_and(|(_, why)| why.trim().is_empty()) => asked.is_some_and(names_a_rule),
        // `iptc_strerror` and `nft_strerror`. A kernel that lacks a module is told in the same words, where tables are
        // committed.
        1 if complaint.contains("No chain/target/match by that name") => asked != Some("COMMIT"),
        1 if complaint.contains("does a matching rule exist in that chain?") => true,
        // A jump is read before its rule is looked for. A target that is no chain of ours is an extension that is
        // missing.
        1 | 2 => {
            let jumps = ["Chain '", "load target `", "goto '"];
            let targets = jumps.iter().filter_map(|words| complaint.split_once(words));
            targets.map(|(_, target)| target).any(|target| target.starts_with(OURS))
        }
        // It was there when the rule was looked for, and not any more when the kernel was told.
        4 => complaints(ended).all(|line| line.contains("RULE_DELETE failed (No such file or directory)")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "*filter\n-C OCINET-IN -j DROP\n-A OCINET-IN -j DROP\nCOMMIT\n";

    fn is_absent(code: i32, stderr: &str, input: &str) -> bool {
        let ended = Ended { code, stdout: String::new(), complaint: String::new(), stderr: stderr.into() };
        names_what_is_absent(&ended, input)
    }

    #[test]
    fn the_kernels_reason_is_told() {
        let stderr = "Warning: Extension X revision 0 not supported, missing kernel module?\n\
                      iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Invalid argument): rule in chain X\n";
        let ended = Ended { code: 4, stdout: String::new(), complaint: "Warning".into(), stderr: stderr.into() };
        assert_eq!(complaint(&ended), "line 3: RULE_APPEND failed (Invalid argument): rule in chain X");
    }

    /// What iptables 1.8.9 says where something is not there: exit code, words, document.
    const ABSENT: &[(i32, &str, &str)] = &[
        (1, "iptables: No chain/target/match by that name.", ""),
        (1, "iptables: Bad rule (does a matching rule exist in that chain?).", ""),
        (1, "iptables-nft-restore: line 2 failed: Bad rule (does a matching rule exist in that chain?).", DOCUMENT),
        (1, "iptables-nft-restore: line 3 failed: No chain/target/match by that name.", DOCUMENT),
        (1, "iptables-restore: line 2 failed", DOCUMENT),
        (1, "# Warning: iptables-legacy tables present\niptables: No chain/target/match by that name.", ""),
        (
            1,
            "Another app is currently holding the xtables lock; waiting (1s)\niptables-restore: line 2 failed",
            DOCUMENT,
        ),
        (
            2,
            "iptables-nft-restore v1.8.9 (nf_tables): Chain 'OCINET-IN' does not exist\nError occurred at line: 3",
            DOCUMENT,
        ),
        (2, "iptables-restore v1.8.9 (legacy): Couldn't load target `OCINET-IN':No such file or directory\n", DOCUMENT),
        (
            4,
            "iptables-nft-restore v1.8.9 (nf_tables): \nline 4: RULE_DELETE failed (No such file or directory): rule in chain OCINET-ANY\n",
            DOCUMENT,
        ),
        (2, "iptables-restore v1.8.9 (legacy): goto 'OCINET-IN' is not a chain", DOCUMENT),
    ];

    /// What it says where it failed.
    const FAILED: &[(i32, &str, &str)] = &[
        (1, "iptables-restore: line 3 failed", DOCUMENT),
        (1, "iptables-restore: line 4 failed", DOCUMENT),
        (1, "iptables-restore: line 9 failed", DOCUMENT),
        (1, "iptables-restore: line 4 failed: No chain/target/match by that name.", DOCUMENT),
        (1, "iptables-nft-restore: COMMIT expected at line 3", DOCUMENT),
        (1, "iptables v1.8.9 (nf_tables): chain `OCINET-IN' in table `filter' is incompatible, use 'nft' tool.", ""),
        (1, "iptables: Memory allocation problem.", ""),
        (1, "", ""),
        (2, "iptables-restore v1.8.9 (legacy): Couldn't load target `DNAT':No such file or directory", DOCUMENT),
        (2, "iptables-restore v1.8.9 (legacy): Couldn't load match `conntrack':No such file or directory", DOCUMENT),
        (2, "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'filter'", DOCUMENT),
        (2, "iptables v1.8.9 (nf_tables): unknown option \"-Q\"", ""),
        (
            3,
            "iptables v1.8.9 (legacy): can't initialize iptables table `filter': Permission denied (you must be root)",
            "",
        ),
        (
            4,
            "iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)",
            "",
        ),
        (
            4,
            "iptables-nft-restore v1.8.9 (nf_tables): \nline 4: RULE_APPEND failed (No such file or directory): rule in chain OCINET-IN\n",
            DOCUMENT,
        ),
        (
            127,
            "iptables-nft: error while loading shared libraries: libxtables.so.12: cannot open shared object file: Error 24",
            "",
        ),
    ];

    #[test]
    fn absence_is_told_from_failures() {
        for (code, stderr, input) in ABSENT {
            assert!(is_absent(*code, stderr, input), "{stderr}");
        }
        for (code, stderr, input) in FAILED {
            assert!(!is_absent(*code, stderr, input), "{stderr}");
        }
    }
}
