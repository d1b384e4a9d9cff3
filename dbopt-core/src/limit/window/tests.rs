//! The windows against an exact model: the list of all admissions.

use proptest::prelude::*;

use super::*;

const START: u64 = 1 << 40;

/// Admits if free; the time of the next change otherwise.
fn take(meter: &mut Meter, shapes: &[Shape], now: u64, cost: u32) -> bool {
    meter.advance(shapes, now);
    let free = meter.free(shapes, 1.0) >= cost;
    if free {
        meter.charge(shapes, now, cost);
    }
    free
}

/// The most that was admitted in any window of that length.
fn most(log: &[(u64, u32)], length: u64) -> u64 {
    let window = |&(end, _): &(u64, u32)| {
        let inside = log.iter().filter(|(at, _)| *at <= end && at + length > end);
        inside.map(|(_, cost)| u64::from(*cost)).sum()
    };
    log.iter().map(window).max().unwrap_or(0)
}

fn shape() -> impl Strategy<Value = Shape> {
    (1u32..40, 10u64..2000, 0u32..25).prop_map(|(limit, length, buckets)| {
        let bucket = if buckets == 0 { 0 } else { length.div_ceil(u64::from(buckets)) };
        Shape { limit, length, bucket, ahead: 0, slack: 0 }
    })
}

/// Pauses between calls, of all sizes, and costs.
fn calls() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let pause = prop_oneof![4 => 0u64..4, 4 => 0u64..100, 1 => 0u64..5000];
    proptest::collection::vec((pause, 1u32..4), 1..300)
}

proptest! {
    #[test]
    fn no_window_holds_more_than_the_limit(shapes in proptest::collection::vec(shape(), 1..4), calls in calls()) {
        let mut meter = Meter::new(&shapes);
        let (mut now, mut log) = (START, Vec::new());
        for (pause, cost) in calls {
            now += pause;
            if take(&mut meter, &shapes, now, cost) {
                log.push((now, cost));
            }
        }
        for shape in &shapes {
            prop_assert!(most(&log, shape.length) <= u64::from(shape.limit));
        }
    }

    #[test]
    fn what_fits_into_a_window_one_bucket_longer_is_admitted(shape in shape(), calls in calls()) {
        let shapes = [shape];
        let mut meter = Meter::new(&shapes);
        let (mut now, mut log) = (START, Vec::<(u64, u32)>::new());
        for (pause, cost) in calls {
            now += pause;
            let longer: u32 = log.iter().filter(|(at, _)| at + shape.at_worst() > now).map(|(_, cost)| cost).sum();
            let admitted = take(&mut meter, &shapes, now, cost);
            prop_assert!(admitted || longer + cost > shape.limit, "{longer} + {cost} of {}", shape.limit);
            if shape.bucket == 0 {
                prop_assert_eq!(admitted, longer + cost <= shape.limit);
            }
            if admitted {
                log.push((now, cost));
            }
        }
    }

    /// A permit is used at any time until `ahead` after it was charged, by a clock that is up to `slack` behind.
    #[test]
    fn late_use_and_a_late_clock_exceed_nothing(shape in shape(), ahead in 0u64..300, slack in 0u64..100, calls in calls(), seed in any::<u64>()) {
        let shapes = [shape.ahead(ahead).slack(slack)];
        let mut meter = Meter::new(&shapes);
        let (mut now, mut shown, mut log, mut random) = (START, START, Vec::new(), seed);
        for (pause, cost) in calls {
            now += pause;
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let behind = (random >> 33) % (slack + 1);
            shown = shown.max(now - behind);
            if take(&mut meter, &shapes, shown, cost) {
                // The end of a lease is told by the same clock.
                let later = (random >> 13) % (ahead + 1);
                log.push((now.min(shown + ahead).max(shown) + later.min(ahead.saturating_sub(now - shown)), cost));
            }
        }
        prop_assert!(most(&log, shape.length) <= u64::from(shape.limit));
    }

    #[test]
    fn a_refusal_tells_when_it_is_free(shapes in proptest::collection::vec(shape(), 1..3), calls in calls()) {
        let mut meter = Meter::new(&shapes);
        let mut now = START;
        for (pause, cost) in calls {
            now += pause;
            let fits = shapes.iter().all(|shape| cost <= shape.limit);
            if !take(&mut meter, &shapes, now, cost) && fits {
                let (at, _) = meter.free_at(&shapes, now, cost, 1.0);
                prop_assert!(at > now);
                let mut before = at - 1;
                meter.advance(&shapes, before.max(now));
                prop_assert!(meter.free(&shapes, 1.0) < cost, "it was free before");
                before = at;
                prop_assert!(take(&mut meter, &shapes, before, cost));
                now = at;
            }
        }
    }

    #[test]
    fn what_is_free_stays_so_until_it_is_said_to_change(shape in shape(), calls in calls(), ahead in 0u64..50) {
        let shapes = [shape.ahead(ahead)];
        let mut meter = Meter::new(&shapes);
        let mut now = START;
        for (pause, cost) in calls {
            now += pause;
            take(&mut meter, &shapes, now, cost);
            let (free, until) = (meter.free(&shapes, 1.0), meter.stays_until(&shapes, now));
            if shape.bucket > 0 {
                prop_assert!(until > now);
                meter.advance(&shapes, until - 1);
                prop_assert_eq!(meter.free(&shapes, 1.0), free);
                now = until - 1;
            }
        }
    }

    #[test]
    fn what_is_given_back_is_free_again(shape in shape(), calls in calls()) {
        let shapes = [shape];
        let mut meter = Meter::new(&shapes);
        let mut now = START;
        for (pause, cost) in calls {
            now += pause;
            meter.advance(&shapes, now);
            let before = meter.free(&shapes, 1.0);
            if take(&mut meter, &shapes, now, cost) {
                meter.give_back(&shapes, now, cost);
                prop_assert_eq!(meter.free(&shapes, 1.0), before);
                take(&mut meter, &shapes, now, cost);
            }
        }
    }
}

#[test]
fn a_share_leaves_at_least_one() {
    assert_eq!([cut(100, 0.25), cut(2, 0.25), cut(7, 1.0)], [25, 1, 7]);
}
