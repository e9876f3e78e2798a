//! The table `filter` of the old iptables, which is no part of nf_tables.
//!
//! The kernel hands out the whole table as one array of entries (`struct ipt_entry`, linux/netfilter_ipv4/ip_tables.h),
//! one a rule. A chain begins with an entry whose target is called `ERROR` and carries its name; a jump is a standard
//! target whose verdict is the offset of the entry it leads to. Only a table that exists is asked for: to ask makes the
//! kernel load the module and make the table.
//!
//! Every attach looks at it where it exists. Measured, this takes 15 µs of processor time, and `iptables-legacy -S` 1.4
//! ms, where a whole attach is to take 2.5 ms at most.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::firewall::pass::{Filter, Tables, Variant};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::proc;
use crate::model::{Family, InterfaceName};

/// The files that name the tables which this network namespace has.
fn names(family: Family) -> &'static str {
    match family {
        Family::V4 => "/proc/net/ip_tables_names",
        Family::V6 => "/proc/net/ip6_tables_names",
    }
}

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;

/// `struct ipt_getinfo`: a name, the hooks, where each chain begins and where its policy is, how many entries and
/// bytes.
const INFO: usize = 32 + 4 + 5 * 4 + 5 * 4 + 4 + 4;
const UNDERFLOWS: usize = 32 + 4 + 5 * 4;
/// `struct ipt_get_entries` without the entries.
const HEAD: usize = 32 + 4 + 4;
/// `NF_INET_FORWARD`.
const FORWARD_HOOK: usize = 2;

/// Offsets in a rule, and the size of its head: of `struct ipt_entry`, and of `struct ip6t_entry`
/// (linux/netfilter_ipv6/ip6_tables.h), whose addresses are longer.
#[derive(Clone, Copy)]
struct Layout {
    target_offset: usize,
    next_offset: usize,
    entry: usize,
}

fn layout(family: Family) -> Layout {
    match family {
        Family::V4 => Layout { target_offset: 88, next_offset: 90, entry: 112 },
        Family::V6 => Layout { target_offset: 140, next_offset: 142, entry: 168 },
    }
}
/// Offsets in `struct xt_entry_target`: its name, and what follows it.
const TARGET_NAME: usize = 2;
const TARGET_DATA: usize = 32;

/// The verdict `NF_DROP` of a standard target.
const DROP: i32 = -1;

/// The longest name of a chain or target, with its final zero.
const NAME: usize = 30;

/// How often a table that grows while we ask is asked for again.
const ATTEMPTS: usize = 5;

/// A table as the kernel gave it.
pub(super) struct Table {
    family: Family,
    /// Its rules (`struct ipt_entry` or `struct ip6t_entry`), one after the other.
    entries: Vec<u8>,
    /// Where the policy of `FORWARD` is.
    policy: usize,
}

/// Whether this network namespace has a table of that name and `family`.
pub(in crate::kernel) fn has_table(family: Family, table: &str) -> Result<bool> {
    let path = names(family);
    match proc::read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        names => Ok(names.doing(|| format!("read {path}"))?.lines().any(|name| name == table)),
    }
}

/// The table `filter` of `family`, where this network namespace has one.
pub(super) fn filter(family: Family) -> Result<Option<Table>> {
    if !has_table(family, "filter")? {
        return Ok(None);
    }
    let what = || "look at the table filter of iptables-legacy".to_owned();
    let (of, level) = match family {
        Family::V4 => (AddressFamily::Inet, libc::IPPROTO_IP),
        Family::V6 => (AddressFamily::Inet6, libc::IPPROTO_IPV6),
    };
    let raw = socket(of, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).doing(what)?;
    for _ in 0..ATTEMPTS {
        let mut info = [0; INFO];
        info[..6].copy_from_slice(b"filter");
        ask(&raw, level, GET_INFO, &mut info).doing(what)?;
        let size = number(&info, INFO - 4);
        let mut table = vec![0; HEAD + size];
        table[..6].copy_from_slice(b"filter");
        table[32..36].copy_from_slice(&info[INFO - 4..]);
        match ask(&raw, level, GET_ENTRIES, &mut table) {
            // It has another size by now.
            Err(Errno::EAGAIN | Errno::EINVAL) => {}
            Err(error) => return Err(Error::refused(what(), error)),
            Ok(()) => {
                let policy = number(&info, UNDERFLOWS + 4 * FORWARD_HOOK);
                return Ok(Some(Table { family, entries: table.split_off(HEAD), policy }));
            }
        }
    }
    Err(Error::Busy("the table filter of iptables-legacy changes all the time; try again".into()))
}

impl Table {
    /// What matters of it.
    pub fn filter(&self) -> Filter {
        let mut filter = Filter::new(Tables { variant: Variant::Legacy, family: self.family });
        let (mut names, mut uses) = (BTreeMap::<usize, String>::new(), BTreeMap::<usize, u32>::new());
        let mut chain = 0;
        for entry in self.entries() {
            if entry.target == "ERROR" {
                chain = entry.end;
                names.insert(chain, entry.named());
                continue;
            }
            *uses.entry(chain).or_default() += 1;
            let Some(verdict) = entry.verdict() else { continue };
            filter.drops |= entry.start == self.policy && verdict == DROP;
            // A rule without a target leads to the next one.
            if let Some(there) = usize::try_from(verdict).ok().filter(|there| *there != entry.end) {
                *uses.entry(there).or_default() += 1;
            }
        }
        for (start, name) in names {
            // The `RETURN` at the end of every chain is no rule.
            filter.note(&name, uses.get(&start).map_or(0, |uses| uses - 1));
        }
        filter
    }

    /// Whether a rule names `interface`: then the owner has decided about our packets.
    pub fn mentions(&self, interface: &InterfaceName) -> bool {
        let interface = interface.as_str().as_bytes();
        self.entries.windows(interface.len()).any(|window| window == interface)
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut start = 0;
        std::iter::from_fn(move || {
            let entry = Entry::read(layout(self.family), &self.entries, start)?;
            start = entry.end;
            Some(entry)
        })
    }
}

/// A rule, the beginning of a chain, or its end.
struct Entry<'t> {
    start: usize,
    end: usize,
    /// Its target's name; empty for a standard target.
    target: &'t str,
    data: &'t [u8],
}

impl<'t> Entry<'t> {
    fn read(layout: Layout, table: &'t [u8], start: usize) -> Option<Self> {
        let Layout { target_offset, next_offset, entry } = layout;
        let short = |at: usize| {
            let bytes = table.get(start + at..start + at + 2)?;
            Some(usize::from(u16::from_ne_bytes([bytes[0], bytes[1]])))
        };
        let (target, length) = (short(target_offset)?, short(next_offset)?);
        let target = table.get(start..start + length.max(entry))?.get(target..)?;
        let name = target.get(TARGET_NAME..TARGET_NAME + NAME - 1)?;
        Some(Self { start, end: start + length.max(entry), target: text(name), data: target.get(TARGET_DATA..)? })
    }

    /// The name of the chain that begins here.
    fn named(&self) -> String {
        text(self.data).to_owned()
    }

    /// A standard target's verdict: where it jumps, or what becomes of the packet, negative.
    fn verdict(&self) -> Option<i32> {
        let bytes = self.data.first_chunk().filter(|_| self.target.is_empty())?;
        Some(i32::from_ne_bytes(*bytes))
    }
}

/// A string up to its final zero.
fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or_default()
}

fn number(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize)
}

/// getsockopt(2) into `answer`, which nix offers for options of a fixed size only.
#[allow(unsafe_code)]
fn ask(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, answer: &mut [u8]) -> nix::Result<()> {
    let mut length = libc::socklen_t::try_from(answer.len()).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: `answer` is writable for as many bytes as `length` says, and both outlive the call.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, answer.as_mut_ptr().cast(), &raw mut length) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of the kernel's, with a target of that name.
    fn entry(family: Family, target: &str, data: &[u8]) -> Vec<u8> {
        let Layout { target_offset, next_offset, entry } = layout(family);
        let mut bytes = vec![0; entry + TARGET_DATA + 32];
        let length = u16::try_from(bytes.len()).expect("short");
        bytes[target_offset..][..2].copy_from_slice(&u16::try_from(entry).expect("short").to_ne_bytes());
        bytes[next_offset..][..2].copy_from_slice(&length.to_ne_bytes());
        bytes[entry + TARGET_NAME..][..target.len()].copy_from_slice(target.as_bytes());
        bytes[entry + TARGET_DATA..][..data.len()].copy_from_slice(data);
        bytes
    }

    #[test]
    fn rules_and_jumps_are_uses() {
        Family::ALL.into_iter().for_each(rules_and_jumps_are_uses_of);
    }

    fn rules_and_jumps_are_uses_of(family: Family) {
        const RETURN: i32 = -5;
        let size = layout(family).entry + TARGET_DATA + 32;
        let entry = |target: &str, data: &[u8]| entry(family, target, data);
        let verdict = |verdict: i32| entry("", &verdict.to_ne_bytes());
        // FORWARD: a jump to DOCKER-USER and the policy. DOCKER-USER: a rule and its end. ufw's last chain: two rules
        // and its end.
        let user = i32::try_from(3 * size).expect("short");
        let entries = [
            verdict(user),
            verdict(DROP),
            entry("ERROR", b"DOCKER-USER"),
            verdict(RETURN),
            verdict(RETURN),
            entry("ERROR", b"ufw-reject-forward"),
            entry("REJECT", &[]),
            entry("LOG", &[]),
            verdict(RETURN),
            entry("ERROR", b"ERROR"),
        ];
        let mut table = Table { family, entries: entries.concat(), policy: size };
        let mut expected = Filter::new(Tables { variant: Variant::Legacy, family });
        expected.drops = true;
        expected.note("DOCKER-USER", 2);
        expected.note("ufw-reject-forward", 2);
        assert_eq!(table.filter(), expected);
        table.policy = 0;
        assert!(!table.filter().drops);
    }

    #[test]
    fn what_is_cut_off_is_read_to_its_end() {
        let entry = |target: &str, data: &[u8]| entry(Family::V4, target, data);
        let verdict = |verdict: i32| entry("", &verdict.to_ne_bytes());
        let whole = [verdict(-1), entry("ERROR", b"DOCKER-USER"), verdict(-5)].concat();
        for length in 0..whole.len() {
            let table = Table { family: Family::V4, entries: whole[..length].to_vec(), policy: 0 };
            table.filter();
        }
    }
}
