//! Distributions of times.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Collects times and answers for their quantiles, within one per cent.
#[derive(Clone, Debug)]
pub struct Times {
    histogram: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// No times yet.
    pub fn new() -> Self {
        Self { histogram: Histogram::new(2).expect("two digits are allowed") }
    }

    /// Adds a time in nanoseconds; it is kept in microseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        self.histogram.record(nanoseconds / 1000).expect("the histogram grows by itself");
    }

    /// Adds the times of another.
    pub fn join(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("a histogram grows by itself");
    }

    /// The quantiles so far.
    pub fn quantiles(&self) -> Quantiles {
        let at = |share: f64| self.histogram.value_at_quantile(share) as f64 / 1000.0;
        Quantiles {
            count: self.histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: self.histogram.max() as f64 / 1000.0,
        }
    }
}

/// Quantiles of times, in milliseconds; all 0 if there was no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many times there were.
    pub count: u64,
    /// Half of them were not above this.
    pub p50: f64,
    /// 99 of 100 were not above this.
    pub p99: f64,
    /// None was above this.
    pub max: f64,
}

/// The median; 0 for none. Values that are not numbers count as the largest.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds_and_within_one_per_cent() {
        let mut times = Times::new();
        assert_eq!(times.quantiles(), Quantiles::default());
        for millisecond in 1..=100 {
            times.add(millisecond * 1_000_000);
        }
        let quantiles = times.quantiles();
        assert_eq!(quantiles.count, 100);
        for (found, wanted) in [(quantiles.p50, 50.0), (quantiles.p99, 99.0), (quantiles.max, 100.0)] {
            assert!((found / wanted - 1.0_f64).abs() < 0.01, "{found} for {wanted}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
