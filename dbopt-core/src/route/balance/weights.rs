//! From what is known of a replica to its weight. Pure.

use serde::{Deserialize, Serialize};

/// How reads are spread over replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// By capacity, load, response times and lag.
    #[default]
    Weighted,
    /// In turn, whatever they are like.
    RoundRobin,
}

/// The least that the factors together leave of a replica's capacity: one that gets nothing is never measured again.
pub(super) const FLOOR: f64 = 0.001;

/// The share of processor time from which on a replica gets less (9.3), and the one below which it gets its full part again.
const HOT: f64 = 0.8;
const COOL: f64 = 0.7;

/// How far the CPU factor rises in a second. Were it to rise at once, all instances would come back together and heat the node again.
const RISE: f64 = 0.05;

/// Response times that differ by less than this make no difference: chasing noise would only move the load about.
const NOISE: f64 = 1.25;

/// The share of `routing.max_lag` from which on a replica gets less.
const STALE: f64 = 0.5;

/// What a replica's weight is made of: 1 is its full part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Factors {
    /// For the load of its machine.
    pub cpu: f64,
    /// For its response times and errors, beside the other replicas'.
    pub latency: f64,
    /// For how far it is behind.
    pub freshness: f64,
    /// For how long it has been back.
    pub ramp: f64,
}

impl Factors {
    /// Nothing speaks against the replica.
    pub const FULL: Factors = Factors { cpu: 1.0, latency: 1.0, freshness: 1.0, ramp: 1.0 };

    /// The weight of a replica of this capacity.
    pub fn weight(&self, capacity: f64) -> f64 {
        capacity * (self.cpu * self.latency * self.freshness * self.ramp).clamp(FLOOR, 1.0)
    }
}

/// How hot a machine is; it takes longer to cool than to heat up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heat {
    hot: bool,
    factor: f64,
}

impl Default for Heat {
    fn default() -> Self {
        Heat { hot: false, factor: 1.0 }
    }
}

impl Heat {
    /// The factor after another `seconds`, in which the processors were in use for the share `cpu` of the time.
    ///
    /// From 80 % on it is 0.7, falling to 0.1 at 100 %; it goes on to depend on the load until that is below 70 %. It falls by half of the
    /// way each second and rises slowly, because what is measured is what an earlier factor made of it.
    pub(super) fn factor(&mut self, cpu: Option<f64>, seconds: f64) -> f64 {
        self.hot = match cpu {
            Some(cpu) if cpu >= HOT => true,
            Some(cpu) if cpu >= COOL => self.hot,
            _ => false,
        };
        let goal = match cpu {
            Some(cpu) if self.hot => 1.0 - 3.0 * (cpu.min(1.0) - COOL),
            _ => 1.0,
        };
        self.factor = if goal < self.factor {
            goal + (self.factor - goal) * 0.5f64.powf(seconds)
        } else {
            goal.min(self.factor + RISE * seconds)
        };
        self.factor
    }
}

/// For a replica that takes `slowness` times as long as the fastest one.
pub(super) fn latency(slowness: f64) -> f64 {
    // Squared: with the plain ratio a replica that is twice as slow would have as many callers waiting as the others.
    (NOISE / slowness.max(NOISE)).powi(2)
}

/// For a replica whose lag is this share of what is allowed.
pub(super) fn freshness(lag: f64) -> f64 {
    1.0 - 0.9 * ((lag - STALE) / (1.0 - STALE)).clamp(0.0, 1.0)
}

/// For a replica that has been back for this share of `routing.slow_start`.
pub(super) fn ramp(passed: f64) -> f64 {
    0.1 + 0.9 * passed.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The factor after a minute of this load.
    fn settled(heat: &mut Heat, cpu: f64) -> f64 {
        (0..60).map(|_| heat.factor(Some(cpu), 1.0)).last().unwrap()
    }

    #[test]
    fn at_80_percent_it_gets_less_until_it_is_below_70() {
        let mut heat = Heat::default();
        assert_eq!(settled(&mut heat, 0.79), 1.0);
        assert!((settled(&mut heat, 0.8) - 0.7).abs() < 1e-6);
        assert!((settled(&mut heat, 0.9) - 0.4).abs() < 1e-6);
        assert!((settled(&mut heat, 0.75) - 0.85).abs() < 1e-6, "still hot");
        assert_eq!(settled(&mut heat, 0.69), 1.0);
        assert_eq!(settled(&mut heat, 0.75), 1.0, "not hot again below 80");
    }

    #[test]
    fn it_falls_quickly_and_rises_slowly() {
        let mut heat = Heat::default();
        heat.factor(Some(1.0), 1.0);
        assert!(heat.factor(Some(1.0), 1.0) < 0.35);
        assert!(heat.factor(Some(0.1), 1.0) < 0.4);
        assert_eq!((0..20).map(|_| heat.factor(None, 1.0)).last(), Some(1.0));
    }

    #[test]
    fn noise_makes_no_difference_and_twice_as_slow_is_less_than_half() {
        assert_eq!((latency(0.5), latency(1.0), latency(1.25)), (1.0, 1.0, 1.0));
        assert!(latency(2.0) < 0.4);
    }

    #[test]
    fn lag_counts_from_half_of_the_limit_on() {
        assert_eq!((freshness(0.0), freshness(0.5)), (1.0, 1.0));
        assert!((freshness(1.0) - 0.1).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn a_weight_is_finite_and_above_the_floor(cpu in -1.0f64..3.0, slowness in 0.0f64..1e9, lag in 0.0f64..1e9, back in -1.0f64..1e9, capacity in 0.01f64..100.0) {
            let cpu = settled(&mut Heat::default(), cpu);
            let weight = Factors { cpu, latency: latency(slowness), freshness: freshness(lag), ramp: ramp(back) }.weight(capacity);
            prop_assert!(weight.is_finite() && weight >= capacity * FLOOR && weight <= capacity, "{weight}");
        }

        #[test]
        fn whatever_is_worse_never_weighs_more(a in 0.0f64..3.0, b in 0.0f64..3.0) {
            let (good, bad) = (a.min(b), a.max(b));
            prop_assert!(latency(bad) <= latency(good) && freshness(bad) <= freshness(good) && ramp(bad) >= ramp(good));
            let cpu = |share| settled(&mut Heat::default(), share);
            prop_assert!(cpu(bad) <= cpu(good) + 1e-9);
            let of = |latency| Factors { latency, ..Factors::FULL }.weight(2.0);
            prop_assert!(of(latency(bad)) <= of(latency(good)));
        }
    }
}
