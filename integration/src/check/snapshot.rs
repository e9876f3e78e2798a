//! Everything on a host that a hook could change, as text.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::Place;

/// The bridge of the network `bridge`.
pub(crate) const BRIDGE: &str = "ocinet0";

/// The beginnings of the names of our links.
const OUR_LINKS: [&str; 3] = [BRIDGE, "ocv", "ocn-"];

/// The beginning of the names of our iptables chains.
const OUR_CHAINS: &str = "OCINET-";

/// The tables of iptables-nft. It makes each with its first rule and never deletes it.
const IPTABLES: [&str; 5] = ["raw", "mangle", "filter", "security", "nat"];

/// The folders where runtimes, podman and containerd keep their own state and mounts.
const RUNTIMES: [&str; 5] = ["/run/runc", "/run/crun", "/run/containers", "/run/containerd", "/mnt/podman"];

/// Settings that the kernel changes on every interface when forwarding is switched on.
const FORWARDING: [&str; 4] =
    ["ipv4/ip_forward:", "/forwarding:", "/force_forwarding:", "ipv4/conf/all/accept_redirects:"];

/// A host at one moment: lines of text by section.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot(BTreeMap<String, Vec<String>>);

impl Snapshot {
    /// Records the state of the host.
    pub fn take(host: &Place) -> Result<Self> {
        let mut sections = BTreeMap::<_, Vec<_>>::new();
        let mut section = String::new();
        for line in host.sh(include_str!("snapshot.sh"))?.lines() {
            match line.strip_prefix("### ") {
                Some(name) => {
                    name.clone_into(&mut section);
                    sections.insert(section.clone(), Vec::new());
                }
                None => sections.entry(section.clone()).or_default().push(line.to_owned()),
            }
        }
        Ok(Self(sections))
    }

    /// What is not ours: all but the lines that name our links, our table, our files, and `ip_forward`.
    pub fn foreign(&self) -> Self {
        let mut foreign = self.without_our_files();
        for (section, lines) in &mut foreign.0 {
            match section.as_str() {
                "nftables" => *lines = without_our_chains(&without_our_table(lines)),
                "iptables" => lines.retain(|line| !line.contains(OUR_CHAINS)),
                "sysctls" => lines.retain(|line| !is_ours(line) && !FORWARDING.iter().any(|key| line.contains(key))),
                _ => lines.retain(|line| !is_ours(line)),
            }
        }
        foreign
    }

    /// All but the files under `/run/ocinet`, whose content the checker does not compare, and the files of runtimes.
    pub fn without_our_files(&self) -> Self {
        let mut rest = self.clone();
        for section in ["files", "mounts"] {
            if let Some(lines) = rest.0.get_mut(section) {
                lines.retain(|line| !line.contains("/run/ocinet") && !RUNTIMES.iter().any(|path| line.contains(path)));
            }
        }
        rest
    }

    /// The lines that differ, section by section.
    fn difference(&self, other: &Self) -> String {
        let sections: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        sections
            .into_iter()
            .map(|section| (section, self.section(section), other.section(section)))
            .filter(|(_, before, after)| before != after)
            .map(|(section, before, after)| {
                format!("@ {section}\n{}{}", only_in(before, after, '-'), only_in(after, before, '+'))
            })
            .collect()
    }

    fn section(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The lines that only the first list has, as in a patch, at most 20.
fn only_in(here: &[String], there: &[String], sign: char) -> String {
    const ENOUGH: usize = 20;
    let lines: Vec<_> = here.iter().filter(|line| !there.contains(line)).collect();
    let more = lines.len().saturating_sub(ENOUGH);
    let tail = if more == 0 { String::new() } else { format!("{sign} ... and {more} more\n") };
    lines.iter().take(ENOUGH).map(|line| format!("{sign} {line}\n")).collect::<String>() + &tail
}

/// An error that shows each difference, unless both are the same.
pub(crate) fn same(then: &str, before: &Snapshot, now: &str, after: &Snapshot) -> Result<()> {
    ensure!(before == after, "the host has changed (-: {then}, +: {now}):\n{}", before.difference(after));
    Ok(())
}

/// Whether a line names a link of ours.
fn is_ours(line: &str) -> bool {
    line.split(|c: char| c.is_whitespace() || "/:@".contains(c))
        .any(|word| OUR_LINKS.iter().any(|prefix| word.starts_with(prefix)))
}

fn without_our_table(lines: &[String]) -> Vec<String> {
    let mut inside = false;
    let mut rest = Vec::new();
    for line in lines {
        inside |= ["table inet ocinet ", "table ip ocinet "].iter().any(|table| line.starts_with(table));
        if !inside {
            rest.push(line.clone());
        }
        inside &= line != "}";
    }
    rest
}

/// The tables without our chains and the jumps to them, and without what iptables-nft makes for them and keeps: chains
/// that do nothing, and tables with nothing else.
fn without_our_chains(lines: &[String]) -> Vec<String> {
    let mut rest: Vec<String> = Vec::new();
    let (mut chain, mut of_iptables): (Option<Vec<String>>, bool) = (None, false);
    for line in lines.iter().filter(|line| !line.trim().is_empty() && !line.contains(&format!("jump {OUR_CHAINS}"))) {
        if line.starts_with("table ") {
            let is_of =
                |family: &str| IPTABLES.iter().any(|table| line.starts_with(&format!("table {family} {table} ")));
            of_iptables = is_of("ip") || is_of("ip6");
        }
        if of_iptables && line.trim_start().starts_with("chain ") {
            chain = Some(vec![line.clone()]);
        } else if let Some(mut block) = chain.take() {
            block.push(line.clone());
            if line.trim() != "}" {
                chain = Some(block);
            } else if !block[0].contains(OUR_CHAINS) && !does_nothing(&block) {
                rest.extend(block);
            }
        } else if of_iptables && line == "}" && rest.last().is_some_and(|last| last.starts_with("table ")) {
            rest.pop();
        } else {
            rest.push(line.clone());
        }
    }
    rest
}

/// A base chain with no rule and its initial policy.
fn does_nothing(chain: &[String]) -> bool {
    chain.len() == 3 && chain[1].trim_end().ends_with("policy accept;")
}
