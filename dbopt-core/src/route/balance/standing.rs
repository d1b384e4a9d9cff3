//! Whether a replica serves: what went away comes back once it has caught up, and little by little. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::weights;
use crate::backend::Role;
use crate::cluster::{Lag, NodeView};

/// The share of `routing.max_lag` that a replica must be within to come back. More than that may be left of an outage, or come and go.
const CAUGHT_UP: f64 = 0.5;

/// Whether a node serves reads as a replica.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Standing {
    seen: bool,
    serves: bool,
    healthy_since: Option<Instant>,
    /// When it came back; absent if it has served since the first look.
    back_since: Option<Instant>,
}

impl Standing {
    /// Takes in how the node is seen now; true when it serves.
    pub(super) fn look(&mut self, node: &NodeView, max_lag: Duration, now: Instant) -> bool {
        let able = node.state.serves() && node.role == Some(Role::Replica) && !node.lag.exceeds(max_lag);
        // It may have been away and come back between two looks.
        let returned = self.seen && node.healthy_since > self.healthy_since && self.healthy_since.is_some();
        let stays = !self.seen || self.serves && !returned;
        let was_serving = self.serves;
        self.serves = able && (stays || is_caught_up(node.lag, max_lag));
        if self.serves && self.seen && (returned || !was_serving) {
            self.back_since = Some(now);
        }
        (self.seen, self.healthy_since) = (true, node.healthy_since.or(self.healthy_since));
        self.serves
    }

    /// Which part of its weight it has by now.
    pub(super) fn ramp(&self, slow_start: Duration, now: Instant) -> f64 {
        match self.back_since {
            Some(since) if !slow_start.is_zero() => {
                weights::ramp(now.saturating_duration_since(since).as_secs_f64() / slow_start.as_secs_f64())
            }
            _ => 1.0,
        }
    }
}

/// Without a primary nobody can tell, and there is nobody else to ask.
fn is_caught_up(lag: Lag, max_lag: Duration) -> bool {
    match lag {
        Lag::Known(lag) => lag <= max_lag.mul_f64(CAUGHT_UP),
        Lag::AtLeast(_) => false,
        Lag::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeState;
    use std::sync::Arc;

    const MAX_LAG: Duration = Duration::from_secs(5);
    const SLOW_START: Duration = Duration::from_secs(15);

    fn node(state: NodeState, lag_ms: u64) -> NodeView {
        NodeView {
            name: Arc::from("r"),
            state,
            role: Some(Role::Replica),
            position: None,
            lag: Lag::Known(Duration::from_millis(lag_ms)),
            cause: None,
            host: Default::default(),
            healthy_since: None,
            details: Default::default(),
        }
    }

    fn later(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn who_serves_from_the_start_has_its_full_part() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        assert!(standing.look(&node(NodeState::Healthy, 4000), MAX_LAG, start), "it is within the limit");
        assert_eq!(standing.ramp(SLOW_START, start), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_away_comes_back_caught_up_and_slowly() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.look(&node(NodeState::Healthy, 0), MAX_LAG, start);
        assert!(!standing.look(&node(NodeState::Unreachable, 0), MAX_LAG, later(start, 1)));
        assert!(
            !standing.look(&node(NodeState::Healthy, 4000), MAX_LAG, later(start, 9)),
            "it answers, and is still behind"
        );
        assert!(standing.look(&node(NodeState::Healthy, 2000), MAX_LAG, later(start, 10)));
        assert!(
            standing.look(&node(NodeState::Healthy, 4000), MAX_LAG, later(start, 10)),
            "once back, the limit counts"
        );
        let ramp = |seconds| standing.ramp(SLOW_START, later(start, seconds));
        assert_eq!((ramp(10), ramp(25), ramp(99)), (0.1, 1.0, 1.0));
        assert!((ramp(17) - 0.52).abs() < 0.01);
        assert_eq!(standing.ramp(Duration::ZERO, later(start, 10)), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn too_far_behind_it_is_away_as_well() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.look(&node(NodeState::Healthy, 0), MAX_LAG, start);
        for (lag, serves) in [(5001, false), (4000, false), (2500, true), (4999, true)] {
            assert_eq!(standing.look(&node(NodeState::Healthy, lag), MAX_LAG, start), serves, "{lag}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_between_two_looks_is_noticed() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        let since = |seconds| NodeView { healthy_since: Some(later(start, seconds)), ..node(NodeState::Healthy, 0) };
        standing.look(&since(0), MAX_LAG, start);
        standing.look(&since(0), MAX_LAG, later(start, 5));
        assert_eq!(standing.ramp(SLOW_START, later(start, 5)), 1.0);
        standing.look(&since(6), MAX_LAG, later(start, 7));
        assert_eq!(standing.ramp(SLOW_START, later(start, 7)), 0.1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_primary_nobody_is_kept_waiting() {
        let (mut standing, start) = (Standing::default(), Instant::now());
        standing.look(&node(NodeState::Unreachable, 0), MAX_LAG, start);
        let unknown = NodeView { lag: Lag::Unknown, ..node(NodeState::Healthy, 0) };
        assert!(standing.look(&unknown, MAX_LAG, start));
    }
}
