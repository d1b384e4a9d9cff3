//! How the budget is shared out over nodes and lanes. Pure.

use crate::op::Lane;

/// What a pool is wanted for right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// The write pool of the primary.
    Write,
    /// The critical pool of the primary.
    Critical,
    /// The read pool of a replica that serves reads.
    ServingReplica,
    /// The read pool of the primary while replicas serve: a fallback.
    Fallback,
    /// The read pool of the primary when it serves all reads.
    PrimaryReads,
    /// A pool that nothing is sent to now: a dead node, or the write lane of a replica.
    Idle,
    /// A pool of a slot without a server: it gets no room at all.
    Vacant,
}

/// What a pool may open, and what it keeps open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Kept open at all times.
    pub min: usize,
    /// Never exceeded.
    pub max: usize,
}

/// Shares `min` and `max` connections out over pools with the given demands and capacities of their nodes, in their order.
///
/// Every pool gets room for one connection, except that idle write and critical pools and vacant ones get none; what remains goes by weight:
/// `write_share` and `critical_share` of the budget to those lanes, the rest to serving replicas by capacity with half a part
/// for the primary's fallback pool. The sums never exceed `min` and `max`.
pub fn share_out(
    pools: &[(Lane, Demand, f64)],
    min: u32,
    max: u32,
    write_share: f64,
    critical_share: f64,
) -> Vec<Share> {
    let serving = || pools.iter().filter(|(_, demand, _)| *demand == Demand::ServingReplica);
    let usual = serving().map(|(_, _, capacity)| capacity).sum::<f64>() / (serving().count().max(1)) as f64;
    let parts: Vec<f64> = pools
        .iter()
        .map(|(_, demand, capacity)| match demand {
            Demand::ServingReplica => capacity / usual,
            Demand::PrimaryReads => 1.0,
            Demand::Fallback => 0.5,
            Demand::Write | Demand::Critical | Demand::Idle | Demand::Vacant => 0.0,
        })
        .collect();
    let all_parts: f64 = parts.iter().sum();
    let read_share = 1.0 - write_share - critical_share;
    let weights: Vec<f64> = pools
        .iter()
        .zip(&parts)
        .map(|((_, demand, _), part)| match demand {
            Demand::Write => write_share,
            Demand::Critical => critical_share,
            Demand::Idle | Demand::Vacant => 0.0,
            _ => read_share * part / all_parts,
        })
        .collect();
    let floors: Vec<usize> = pools.iter().map(|(lane, demand, _)| usize::from(has_room(*lane, *demand))).collect();
    let maxima = apportion(max as usize, &weights, &floors);
    let no_floor = vec![0; pools.len()];
    let minima = apportion(min as usize, &weights, &no_floor);
    maxima.into_iter().zip(minima).map(|(max, min)| Share { min: min.min(max), max }).collect()
}

/// Whether the pool gets a connection whatever the others need.
fn has_room(lane: Lane, demand: Demand) -> bool {
    match demand {
        Demand::Vacant => false,
        Demand::Idle => lane == Lane::Read,
        _ => true,
    }
}

/// Splits `total` by weight, each at least its floor, by largest remainder.
fn apportion(total: usize, weights: &[f64], floors: &[usize]) -> Vec<usize> {
    let mut given = floors.to_vec();
    let sum: f64 = weights.iter().sum();
    if sum <= 0.0 {
        return given;
    }
    let ideal: Vec<f64> = weights.iter().map(|w| total as f64 * w / sum).collect();
    let mut left = total.saturating_sub(given.iter().sum());
    while left > 0 {
        // The pool furthest below what it should have gets the next one; the first of equals, so the result is stable.
        let neediest = (0..given.len()).filter(|&i| weights[i] > 0.0).reduce(|a, b| {
            let need = |i: usize| ideal[i] - given[i] as f64;
            if need(b) > need(a) { b } else { a }
        });
        let Some(i) = neediest else { break };
        given[i] += 1;
        left -= 1;
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cluster(replicas: usize) -> Vec<(Lane, Demand, f64)> {
        let mut pools = vec![(Lane::Write, Demand::Write, 1.0), (Lane::Critical, Demand::Critical, 1.0)];
        pools.push((Lane::Read, if replicas == 0 { Demand::PrimaryReads } else { Demand::Fallback }, 1.0));
        pools.extend((0..replicas).map(|_| (Lane::Read, Demand::ServingReplica, 1.0)));
        pools
    }

    #[test]
    fn a_replica_of_three_times_the_capacity_gets_three_times_the_connections() {
        let mut pools = cluster(2);
        pools[3].2 = 3.0;
        let max: Vec<usize> = share_out(&pools, 10, 50, 0.3, 0.1).iter().map(|s| s.max).collect();
        assert_eq!(max, [15, 5, 6, 18, 6]);
    }

    #[test]
    fn the_default_budget_over_three_replicas() {
        let shares = share_out(&cluster(3), 10, 50, 0.3, 0.1);
        let max: Vec<usize> = shares.iter().map(|s| s.max).collect();
        let min: Vec<usize> = shares.iter().map(|s| s.min).collect();
        assert_eq!(max, [15, 5, 4, 9, 9, 8]);
        assert_eq!(max.iter().sum::<usize>(), 50);
        assert_eq!(min.iter().sum::<usize>(), 10);
    }

    #[test]
    fn one_database_gives_its_reads_everything_that_is_left() {
        let shares = share_out(&cluster(0), 10, 50, 0.3, 0.1);
        assert_eq!(shares.iter().map(|s| s.max).collect::<Vec<_>>(), [15, 5, 30]);
    }

    #[test]
    fn a_vacant_slot_takes_nothing_from_the_others() {
        let mut pools = cluster(3);
        pools.push((Lane::Read, Demand::Vacant, 1.0));
        let shares = share_out(&pools, 10, 50, 0.3, 0.1);
        assert_eq!(
            (shares[6], &shares[..6]),
            (Share { min: 0, max: 0 }, &share_out(&cluster(3), 10, 50, 0.3, 0.1)[..])
        );
    }

    #[test]
    fn a_dead_replica_keeps_room_for_one_and_the_others_get_the_rest() {
        let mut pools = cluster(3);
        pools[5].1 = Demand::Idle;
        let shares = share_out(&pools, 10, 50, 0.3, 0.1);
        assert_eq!(shares[5], Share { min: 0, max: 1 });
        assert!(shares[3].max > 9);
    }

    proptest! {
        #[test]
        fn sums_never_exceed_the_budget(replicas in 0usize..8, min in 0u32..40, extra in 0u32..80, write in 0.0f64..0.6, critical in 0.0f64..0.39) {
            let pools = cluster(replicas);
            let max = (min + extra).max(pools.len() as u32);
            let shares = share_out(&pools, min, max, write, critical);
            prop_assert_eq!(shares.iter().map(|s| s.max).sum::<usize>(), max as usize);
            prop_assert!(shares.iter().map(|s| s.min).sum::<usize>() <= min as usize);
            for share in &shares {
                prop_assert!(share.max >= 1 && share.min <= share.max);
            }
        }
    }
}
