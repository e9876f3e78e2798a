//! The pass through Docker and ufw, which share the table `filter` of iptables: a chain of ours, and one jump to it.
//!
//! The place of the jump decides which rules come before ours:
//!
//! * Docker does not change rules in `DOCKER-USER`. The jump comes after the operator's rules there, and before the
//!   `RETURN` at the end of it that older versions have. Docker's own chains come later: what comes from or goes to a
//!   bridge of Docker's returns to them, so that they isolate its networks from ours.
//! * ufw keeps what others append to `FORWARD` when it reloads, and flushes every chain of its own. At the end of
//!   `FORWARD` all rules of ufw have been passed, `ufw route deny` included, and only its policy is left. Where the
//!   policy is `REJECT`, its last chain rejects everything. The jump then stands in the chain before it,
//!   `ufw-after-forward`, until the next reload.
//!
//! The chain lets into a bridge of ours only what was published or is answered, also when our own rules have been
//! flushed.

use crate::model::Family;

/// Our chain in another program's table.
pub const PASS_CHAIN: &str = "OCINET-PASSAGE";

/// The chain of iptables that forwarded packets pass.
pub const FORWARD: &str = "FORWARD";

const DOCKER_USER: &str = "DOCKER-USER";
const UFW_AFTER: &str = "ufw-after-forward";
const UFW_REJECT: &str = "ufw-reject-forward";

/// What ufw calls these chains of IPv6.
const UFW6_AFTER: &str = "ufw6-after-forward";
const UFW6_REJECT: &str = "ufw6-reject-forward";

/// The chains of `family` in which operators have rules about what is forwarded.
pub fn operators_chains(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &[FORWARD, DOCKER_USER, "ufw-user-forward", "ufw-before-forward"],
        Family::V6 => &[FORWARD, DOCKER_USER, "ufw6-user-forward", "ufw6-before-forward"],
    }
}

/// What the chain holds. The bridges of Docker are called `docker0`, `docker_gwbridge` and `br-` with a number.
const RULES: [&str; 8] = [
    "-i docker+ -j RETURN",
    "-i br-+ -j RETURN",
    "-o docker+ -j RETURN",
    "-o br-+ -j RETURN",
    "-i ocinet+ -j ACCEPT",
    "-i ocn-+ -j ACCEPT",
    "-o ocinet+ -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
    "-o ocn-+ -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT",
];

/// Which of the two tables `filter` that a kernel can have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// That of nf_tables.
    Nft,
    /// That of ip_tables.
    Legacy,
}

/// Tables of iptables: each variant has some of its own for each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// The variant.
    pub variant: Variant,
    /// The family.
    pub family: Family,
}

impl Tables {
    /// The program that changes them.
    pub fn program(self) -> &'static str {
        match (self.variant, self.family) {
            (Variant::Nft, Family::V4) => "iptables-nft",
            (Variant::Nft, Family::V6) => "ip6tables-nft",
            (Variant::Legacy, Family::V4) => "iptables-legacy",
            (Variant::Legacy, Family::V6) => "ip6tables-legacy",
        }
    }
}

/// A place for our jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassPlace {
    /// Docker's chain for the operator.
    DockerUser,
    /// The end of `FORWARD`, behind ufw's chains.
    UfwEnd,
    /// ufw's last chain before it rejects.
    UfwAfter,
}

impl PassPlace {
    /// The program that keeps it.
    pub fn keeper(self) -> &'static str {
        match self {
            Self::DockerUser => "Docker",
            Self::UfwEnd | Self::UfwAfter => "ufw",
        }
    }

    /// The chain of `family` that our jump stands in.
    pub fn chain(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::DockerUser, _) => DOCKER_USER,
            (Self::UfwEnd, _) => FORWARD,
            (Self::UfwAfter, Family::V4) => UFW_AFTER,
            (Self::UfwAfter, Family::V6) => UFW6_AFTER,
        }
    }
}

/// What matters to us in a table `filter`, gathered chain by chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Which one.
    pub tables: Tables,
    /// Whether `FORWARD` drops what nothing accepts.
    pub drops: bool,
    /// Whether Docker's chain for the operator is there.
    docker: bool,
    /// Whether ufw's chains are there.
    ufw: bool,
    /// Whether ufw rejects what nothing accepts.
    ufw_rejects: bool,
    /// The rules in our chain and the jumps to it, together; none where there is no such chain.
    chain_uses: Option<u32>,
}

impl Filter {
    /// A table of which nothing is known yet.
    pub fn new(tables: Tables) -> Self {
        Self { tables, drops: false, docker: false, ufw: false, ufw_rejects: false, chain_uses: None }
    }

    /// Takes note of a chain with that many rules in it and jumps to it, together.
    pub fn note(&mut self, chain: &str, uses: u32) {
        match chain {
            DOCKER_USER => self.docker = true,
            UFW_AFTER | UFW6_AFTER => self.ufw = true,
            // A jump leads to it always; a rule is in it only where the policy is to reject.
            UFW_REJECT | UFW6_REJECT => self.ufw_rejects = uses > 1,
            PASS_CHAIN => self.chain_uses = Some(uses),
            _ => {}
        }
    }

    /// The place of the pass, where one is needed and there is one. Where both ufw and Docker run, ufw's rules come
    /// last.
    pub fn place(&self) -> Option<PassPlace> {
        match self {
            Self { drops: false, .. } => None,
            Self { ufw: true, ufw_rejects, .. } => {
                Some(if *ufw_rejects { PassPlace::UfwAfter } else { PassPlace::UfwEnd })
            }
            Self { docker, .. } => docker.then_some(PassPlace::DockerUser),
        }
    }

    /// Whether our chain is whole, and something jumps to it.
    pub fn is_open(&self) -> bool {
        self.chain_uses.is_some_and(|uses| uses as usize == RULES.len() + 1)
    }

    /// Whether anything of ours is there.
    pub fn has_chain(&self) -> bool {
        self.chain_uses.is_some()
    }
}

impl PassPlace {
    /// What adds the pass here, for `iptables-restore --noflush`, where `rules` is what `iptables -S` prints of the
    /// table of `family`.
    pub fn adding(self, family: Family, rules: &str) -> String {
        let mut text = format!("*filter\n:{PASS_CHAIN} - [0:0]\n");
        text.extend(deletions(rules));
        text.extend(RULES.iter().map(|rule| format!("-A {PASS_CHAIN} {rule}\n")));
        let chain = self.chain(family);
        let others: Vec<&str> = rules.lines().filter(|rule| is_in(rule, chain) && !is_jump(rule)).collect();
        let closing = format!("-A {chain} -j RETURN");
        let place = match others.last() {
            Some(last) if *last == closing => format!("-I {chain} {}", others.len()),
            _ => format!("-A {chain}"),
        };
        text + &format!("{place} -m comment --comment \"containers of ocinet\" -j {PASS_CHAIN}\nCOMMIT\n")
    }
}

/// What removes everything of ours from a table, where `rules` is what `iptables -S` prints of it.
pub fn removing(rules: &str) -> String {
    let jumps: String = deletions(rules).collect();
    format!("*filter\n{jumps}-F {PASS_CHAIN}\n-X {PASS_CHAIN}\nCOMMIT\n")
}

fn deletions(rules: &str) -> impl Iterator<Item = String> {
    rules.lines().filter(|rule| is_jump(rule)).map(|rule| rule.replacen("-A ", "-D ", 1) + "\n")
}

fn is_in(rule: &str, chain: &str) -> bool {
    rule.strip_prefix("-A ").and_then(|rest| rest.split(' ').next()) == Some(chain)
}

fn is_jump(rule: &str) -> bool {
    rule.starts_with("-A ") && rule.ends_with(&format!(" -j {PASS_CHAIN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(chains: &[(&str, u32)]) -> Filter {
        let tables = Tables { variant: Variant::Nft, family: Family::V4 };
        let mut filter = Filter { drops: true, ..Filter::new(tables) };
        chains.iter().for_each(|(chain, uses)| filter.note(chain, *uses));
        filter
    }

    #[test]
    fn a_pass_stands_where_its_keeper_has_a_place() {
        assert_eq!(filter(&[("FORWARD", 0)]).place(), None);
        assert_eq!(filter(&[("DOCKER-USER", 2)]).place(), Some(PassPlace::DockerUser));
        assert_eq!(filter(&[("ufw-after-forward", 1), ("ufw-reject-forward", 1)]).place(), Some(PassPlace::UfwEnd));
        assert_eq!(filter(&[("ufw-reject-forward", 2), ("ufw-after-forward", 1)]).place(), Some(PassPlace::UfwAfter));
        assert_eq!(filter(&[("DOCKER-USER", 2), ("ufw-after-forward", 1)]).place(), Some(PassPlace::UfwEnd));
        assert_eq!(Filter { drops: false, ..filter(&[("DOCKER-USER", 2)]) }.place(), None);
    }

    #[test]
    fn a_pass_without_its_jump_is_none() {
        assert!(filter(&[(PASS_CHAIN, 9)]).is_open());
        assert!(!filter(&[(PASS_CHAIN, 8)]).is_open());
        assert!(!filter(&[]).is_open());
    }

    #[test]
    fn the_jump_stands_behind_the_operators_rules() {
        let jump =
            |place: &str| format!("\n{place} -m comment --comment \"containers of ocinet\" -j {PASS_CHAIN}\nCOMMIT\n");
        let old = "-P FORWARD DROP\n-N DOCKER-USER\n-A DOCKER-USER -s 192.0.2.1/32 -j DROP\n-A DOCKER-USER -j RETURN\n";
        let text = PassPlace::DockerUser.adding(Family::V4, old);
        assert!(
            text.starts_with("*filter\n:OCINET-PASSAGE - [0:0]\n-A OCINET-PASSAGE -i docker+ -j RETURN\n"),
            "{text}"
        );
        assert!(text.ends_with(&jump("-I DOCKER-USER 2")), "{text}");
        let new = "-N DOCKER-USER\n-A DOCKER-USER -s 192.0.2.1/32 -j DROP\n-A DOCKER-USER-2 -j RETURN\n";
        assert!(PassPlace::DockerUser.adding(Family::V4, new).ends_with(&jump("-A DOCKER-USER")));
    }

    #[test]
    fn a_jump_of_ours_is_taken_out_wherever_it_is() {
        let jump = |verb: &str, chain: &str| format!("{verb} {chain} -m comment --comment \"a b\" -j OCINET-PASSAGE\n");
        let rules =
            format!("-N OCINET-PASSAGE\n{}-A FORWARD -j X\n{}", jump("-A", "DOCKER-USER"), jump("-A", "FORWARD"));
        let gone = jump("-D", "DOCKER-USER") + &jump("-D", "FORWARD");
        assert_eq!(removing(&rules), format!("*filter\n{gone}-F OCINET-PASSAGE\n-X OCINET-PASSAGE\nCOMMIT\n"));
        assert!(PassPlace::UfwEnd.adding(Family::V4, &rules).contains(&gone));
    }
}
