//! What the kernel holds in our table, whichever version of ocinet loaded it. A ruleset is cleared by this, since an
//! older one has chains and sets of other names.

use std::collections::BTreeSet;

use super::OPERATOR;

/// The chains, sets and maps of the table `inet ocinet`, but the operator's chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The chains.
    pub chains: Vec<String>,
    /// The sets.
    pub sets: Vec<String>,
    /// The maps.
    pub maps: Vec<String>,
    /// What the operator's chain leads to: it cannot be deleted as long as that has its rules. None of it is above.
    pub operators: Vec<String>,
}

/// A rule of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain that it is in.
    pub chain: String,
    /// As netlink has it.
    pub bytes: Vec<u8>,
}

impl Held {
    /// Sorts what the table holds: what the operator's `rules` lead to, at once or by way of other chains, is the
    /// operator's.
    pub fn new(chains: Vec<String>, sets: Vec<String>, maps: Vec<String>, rules: &[Rule]) -> Self {
        let names: Vec<&String> = chains.iter().chain(&sets).chain(&maps).collect();
        let mut reached = BTreeSet::from([OPERATOR]);
        let mut open = vec![OPERATOR];
        while let Some(chain) = open.pop() {
            for rule in rules.iter().filter(|rule| rule.chain == chain) {
                let named = names.iter().filter(|name| rule.names(name));
                open.extend(named.filter(|name| reached.insert(name.as_str())).map(|name| name.as_str()));
            }
        }
        let ours = |names: &[String]| names.iter().filter(|name| !reached.contains(name.as_str())).cloned().collect();
        Self {
            chains: ours(&chains),
            sets: ours(&sets),
            maps: ours(&maps),
            operators: reached.iter().filter(|name| **name != OPERATOR).map(|name| (*name).to_owned()).collect(),
        }
    }
}

impl Rule {
    /// Whether an expression of it has the name of a set or a chain as an attribute: its length, its kind, and the text
    /// with a NUL (`struct nlattr`, linux/netlink.h).
    fn names(&self, name: &str) -> bool {
        let text = [name.as_bytes(), &[0]].concat();
        let length = u16::try_from(text.len() + 4).unwrap_or_default().to_ne_bytes();
        self.bytes.windows(text.len() + 4).any(|attribute| attribute[..2] == length && attribute[4..] == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that looks something up, or jumps there.
    fn rule(chain: &str, name: &str) -> Rule {
        let length = u16::try_from(name.len() + 5).unwrap().to_ne_bytes();
        Rule { chain: chain.into(), bytes: [&[9, 9, 9][..], &length, &[1, 0], name.as_bytes(), &[0, 0]].concat() }
    }

    fn words(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_the_operator_leads_to_is_the_operators() {
        let rules = [
            rule("operator", "mine"),
            rule("mine", "blocked"),
            rule("mine", "mine"),
            rule("raw", "bridges"),
            rule("forward", "operator"),
        ];
        let held =
            Held::new(words("operator mine raw forward"), words("blocked block bridges"), words("ports"), &rules);
        assert_eq!(held.chains, words("raw forward"));
        assert_eq!(held.sets, words("block bridges"));
        assert_eq!(held.maps, words("ports"));
        assert_eq!(held.operators, words("blocked mine"));
    }

    #[test]
    fn a_comment_leads_nowhere() {
        let comment = Rule { chain: OPERATOR.into(), bytes: b"\0\x08bridges\0".to_vec() };
        let held = Held::new(words("operator"), words("bridges"), Vec::new(), &[comment]);
        assert_eq!((held.sets, held.operators), (words("bridges"), Vec::new()));
    }
}
