//! How much of the worker one container may take up. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// How many turns one container has at once, and how many where half of all are taken; and all containers.
const OF_ONE: usize = 64;
const OF_ONE_IN_A_CROWD: usize = 8;
const OF_ALL: usize = 1024;

/// The turns that containers have: each is a question that waits for another server, or a connection.
#[derive(Debug, Default)]
pub struct Turns {
    of_each: BTreeMap<IpAddr, usize>,
    all: usize,
}

impl Turns {
    /// Takes one for `source`; false where it has as many as it may.
    pub fn take(&mut self, source: IpAddr) -> bool {
        let limit = if self.all < OF_ALL / 2 { OF_ONE } else { OF_ONE_IN_A_CROWD };
        let of_source = self.of_each.get(&source).copied().unwrap_or_default();
        if self.all >= OF_ALL || of_source >= limit {
            return false;
        }
        self.of_each.insert(source, of_source + 1);
        self.all += 1;
        true
    }

    /// Gives back one of `source`.
    pub fn give_back(&mut self, source: IpAddr) {
        let Some(count) = self.of_each.get_mut(&source) else { return };
        *count -= 1;
        self.all -= 1;
        if *count == 0 {
            self.of_each.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_flood_leave_turns_for_others() {
        let mut turns = Turns::default();
        let source = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut taken = |number: u32| (0..200).filter(|_| turns.take(source(number))).count();
        assert_eq!(taken(1), OF_ONE);
        let floods: usize = (2..=20).map(&mut taken).sum();
        assert!(floods + OF_ONE < OF_ALL * 3 / 4, "{floods}");
        assert_eq!(taken(21), OF_ONE_IN_A_CROWD);
        (0..OF_ONE).for_each(|_| turns.give_back(source(1)));
        assert!(turns.take(source(1)) && !turns.of_each.is_empty());
        for number in 1..=21 {
            (0..200).for_each(|_| turns.give_back(source(number)));
        }
        assert_eq!((turns.all, turns.of_each.len()), (0, 0));
    }
}
