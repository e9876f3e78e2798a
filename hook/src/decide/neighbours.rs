//! The limit of the kernel's neighbour table.

/// The number of containers from which on the limit is looked at.
const MANY: usize = 200;

/// How many entries so many containers need that all send to each other, where the table takes fewer. The permanent
/// entries, of gateways and of containers on the host, do not count.
pub fn needed(containers: usize, limit: u64) -> Option<u64> {
    let containers = u64::try_from(containers).ok().filter(|_| containers >= MANY)?;
    let needed = containers.saturating_mul(containers - 1);
    (limit < needed).then_some(needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_too_low_for_many_containers_that_all_talk() {
        let rows = [
            (0, 0, None),
            (199, 1024, None),
            (200, 1024, Some(39_800)),
            (200, 39_799, Some(39_800)),
            (200, 39_800, None),
            (1_000, 65_536, Some(999_000)),
            (1_000, 1_048_576, None),
        ];
        for (containers, limit, expected) in rows {
            assert_eq!(needed(containers, limit), expected, "{containers} containers, {limit}");
        }
    }
}
