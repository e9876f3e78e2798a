//! Everything on a host that a hook could change, as text.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};

use crate::Place;

/// The bridge of the network `bridge`.
pub(crate) const BRIDGE: &str = "ocinet0";

/// What the links that we make are called.
const OUR_LINKS: [&str; 3] = [BRIDGE, "ocv", "ocn-"];

/// What chains of iptables are called that we make.
const OUR_CHAINS: &str = "OCINET-";

/// The tables of iptables-nft, which come to be with the first rule in them and stay.
const IPTABLES: [&str; 5] =
    ["table ip raw ", "table ip mangle ", "table ip filter ", "table ip security ", "table ip nat "];

/// Where runtimes, podman and containerd keep their own notes and mounts.
const RUNTIMES: [&str; 5] = ["/run/runc", "/run/crun", "/run/containers", "/run/containerd", "/mnt/podman"];

/// Settings that change where forwarding is switched on, which the kernel does to every interface alike.
const FORWARDING: [&str; 3] = ["ipv4/ip_forward:", "/forwarding:", "ipv4/conf/all/accept_redirects:"];

/// A host at one moment: lines of text by section.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot(BTreeMap<String, Vec<String>>);

impl Snapshot {
    /// Looks at everything on the host.
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

    /// What is not ours: all but our links and what belongs to them, our table, our files, and `ip_forward`.
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

    /// All but the files under `/run/ocinet`, whose content is the store's own affair, and what runtimes keep.
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

/// The lines that only the first has, as in a patch; of very many lines the first few.
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

/// Whether a line speaks of a link of ours, or of something on one.
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

/// The tables without our chains and the jumps to them, and without what iptables-nft makes for them and leaves: chains
/// that do nothing, and tables of nothing else.
fn without_our_chains(lines: &[String]) -> Vec<String> {
    let mut rest: Vec<String> = Vec::new();
    let (mut chain, mut of_iptables): (Option<Vec<String>>, bool) = (None, false);
    for line in lines.iter().filter(|line| !line.trim().is_empty() && !line.contains(&format!("jump {OUR_CHAINS}"))) {
        if line.starts_with("table ") {
            of_iptables = IPTABLES.iter().any(|table| line.starts_with(table));
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

/// A chain of the kernel's with no rule and the policy it begins with.
fn does_nothing(chain: &[String]) -> bool {
    chain.len() == 3 && chain[1].trim_end().ends_with("policy accept;")
}
