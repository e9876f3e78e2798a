use std::time::{SystemTime, UNIX_EPOCH};

/// How much of a large number of cases is tried.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// How many of a hundred cases are tried.
    percent: f64,
    /// From 0 to 1: which cases a share picks. It is random, so that many runs try all cases.
    phase: f64,
}

impl Share {
    /// Every case.
    pub const ALL: Self = Self { percent: 100.0, phase: 0.0 };

    /// A share of `percent` per cent.
    pub fn percent(percent: f64) -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        Self { percent, phase: f64::from(nanos % 1000) / 1000.0 }
    }

    /// Whether the share is everything.
    pub fn is_all(self) -> bool {
        self.percent >= 100.0
    }

    /// Its part of a number of rounds, at least one.
    pub fn of(self, count: usize) -> usize {
        ((count as f64 * self.percent / 100.0).round() as usize).clamp(1, count)
    }

    /// Its part of a list, spread evenly over the list.
    pub fn pick<T>(self, cases: Vec<T>) -> Vec<T> {
        let step = |index: usize| (index as f64 * self.percent / 100.0 + self.phase).floor();
        cases
            .into_iter()
            .enumerate()
            .filter(|(index, _)| step(*index + 1) > step(*index))
            .map(|(_, case)| case)
            .collect()
    }
}
