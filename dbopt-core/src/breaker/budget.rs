//! How many retries there may be, so that they never multiply an outage. Pure.

use tokio::time::Instant;

/// What retries are allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetPolicy {
    /// As a share of calls.
    pub share: f64,
    /// In any case.
    pub per_second: f64,
}

/// For how many seconds unused retries are kept.
const KEPT: f64 = 10.0;

/// Unused retries that calls have earned are kept up to so many, or what ten seconds earn by themselves.
const MOST: f64 = 1000.0;

/// The retries that may still be made.
#[derive(Debug)]
pub struct Budget {
    policy: BudgetPolicy,
    tokens: f64,
    /// When and at how many calls it was last looked at.
    seen: Option<(Instant, u64)>,
    refused: u64,
}

impl Budget {
    /// A budget from which nothing was taken yet.
    pub fn new(policy: BudgetPolicy) -> Self {
        Budget { policy, tokens: policy.per_second, seen: None, refused: 0 }
    }

    /// Takes one retry, if there is one; `calls` is how many calls there ever were.
    pub fn take(&mut self, now: Instant, calls: u64) -> bool {
        let (then, before) = self.seen.replace((now, calls)).unwrap_or((now, 0));
        let by_time = now.saturating_duration_since(then).as_secs_f64() * self.policy.per_second;
        let by_calls = calls.saturating_sub(before) as f64 * self.policy.share;
        let most = (self.policy.per_second * KEPT).max(if self.policy.share > 0.0 { MOST } else { 0.0 });
        self.tokens = (self.tokens + by_time + by_calls).min(most);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        } else {
            self.refused += 1;
        }
        granted
    }

    /// How many retries it has refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_tenth_of_calls_and_a_few_in_any_case() {
        let mut budget = Budget::new(BudgetPolicy { share: 0.1, per_second: 10.0 });
        let now = Instant::now();
        let granted = |budget: &mut Budget, now, calls| (0..1000).filter(|_| budget.take(now, calls)).count();
        assert_eq!(granted(&mut budget, now, 0), 10);
        assert_eq!(granted(&mut budget, now, 1000), 100);
        assert_eq!(granted(&mut budget, now + Duration::from_secs(2), 1000), 20);
        assert_eq!(budget.refused(), 990 + 900 + 980);
    }

    proptest! {
        /// Whatever the load, retries stay below the share of calls, the floor, and what may be kept.
        #[test]
        fn retries_never_multiply_the_load(steps in proptest::collection::vec((0u64..3000, 0u64..500, 0usize..300), 1..60)) {
            let policy = BudgetPolicy { share: 0.1, per_second: 10.0 };
            let mut budget = Budget::new(policy);
            let start = Instant::now();
            let (mut at, mut calls, mut granted) = (0, 0, 0);
            for (wait, more, wanted) in steps {
                at += wait;
                calls += more;
                let now = start + Duration::from_millis(at);
                granted += (0..wanted).filter(|_| budget.take(now, calls)).count();
                let allowed = policy.per_second * (1.0 + at as f64 / 1e3) + policy.share * calls as f64;
                prop_assert!(granted as f64 <= allowed + 1e-6);
            }
        }
    }
}
