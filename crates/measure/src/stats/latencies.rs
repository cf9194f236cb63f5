//! Quantiles of more samples than one wants to keep.

use hdrhistogram::Histogram;

/// A histogram of latencies with a relative error of at most 0.1 %, in constant memory
/// however many there are (HdrHistogram, Tene 2012): a few hundred KiB for what lasts up
/// to minutes.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// Adds one, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        // It grows on demand, and where an index has 64 bits there is no limit to that.
        let recorded = self.0.record(ns);
        debug_assert_eq!(recorded, Ok(()));
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        // Both grow on demand and have the same precision, which is all that can differ.
        let merged = self.0.add(&other.0);
        debug_assert_eq!(merged, Ok(()));
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that a share `q` does not exceed, in microseconds; NaN if none was
    /// recorded.
    pub fn quantile_us(&self, q: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        self.0.value_at_quantile(q) as f64 / 1e3
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three significant digits are within its limit of five"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_a_thousandth_at_most() {
        let (mut odd, mut even) = (Latencies::default(), Latencies::default());
        for ns in 1..=100_000 {
            if ns % 2 == 1 { &mut odd } else { &mut even }.record(ns * 1000);
        }
        odd.merge(&even);
        assert_eq!(odd.count(), 100_000);
        for q in [0.25, 0.5, 0.95, 0.999, 1.0] {
            let expected = q * 1e5;
            assert!((odd.quantile_us(q) / expected - 1.0).abs() <= 1e-3, "{q}");
        }
    }

    #[test]
    fn nothing_and_everything_can_be_asked() {
        let mut latencies = Latencies::default();
        assert!(latencies.quantile_us(0.5).is_nan());
        latencies.record(u64::MAX);
        latencies.record(0);
        assert_eq!((latencies.count(), latencies.quantile_us(0.5)), (2, 0.0));
    }
}
