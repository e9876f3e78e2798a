use std::fmt;

/// The times of many calls, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u64>);

impl Times {
    /// Adds a time.
    pub fn add(&mut self, micros: u64) {
        self.0.push(micros);
    }

    /// All of them together, in milliseconds.
    pub fn sum(&self) -> f64 {
        self.0.iter().sum::<u64>() as f64 / 1000.0
    }

    /// The time in milliseconds that `percent` per cent of the calls did not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default() as f64 / 1000.0
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1} / {:.1} ms", self.percentile(50), self.percentile(99)))
    }
}
