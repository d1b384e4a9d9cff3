use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;
use crate::cache::fence::Snapshot;
use crate::key::with_key;

const POLICIES: [Policy; 2] = [Policy::Lru, Policy::ScanResistant];

fn key(of: u64) -> Key {
    with_key(1, &of, |key| key.to_key()).unwrap()
}

fn cache(config: Config) -> L1 {
    L1::new(config, Arc::new(Fences::new())).unwrap()
}

fn of_size(entries: usize, policy: Policy) -> L1 {
    cache(Config { entries: NonZeroUsize::new(entries).unwrap(), policy, jitter: 0.0, ..Config::default() })
}

fn small() -> L1 {
    of_size(100, Policy::Lru)
}

fn tags(names: &[&str]) -> Arc<[Arc<str>]> {
    names.iter().map(|&name| Arc::from(name)).collect()
}

fn fill(l1: &L1, value: u64, names: &[&str]) -> Fill<u64> {
    Fill::new(value, tags(names), l1.fences().snapshot(names))
}

fn put(l1: &L1, of: u64, value: u64) {
    assert!(l1.insert(key(of), fill(l1, value, &[])));
}

fn get(l1: &L1, of: u64) -> Option<u64> {
    l1.get(key(of).as_ref()).map(|hit: Hit<u64>| hit.value)
}

#[tokio::test(start_paused = true)]
async fn a_value_is_found_again_until_its_time_is_over() {
    for driven in [false, true] {
        let l1 = small();
        let clock = l1.clock().clone();
        let running = driven.then(|| tokio::spawn(async move { clock.run().await }));
        tokio::task::yield_now().await;
        put(&l1, 1, 10);
        for _ in 0..3 {
            assert_eq!(get(&l1, 1), Some(10));
        }
        tokio::time::sleep(Duration::from_millis(59_900)).await;
        assert_eq!(get(&l1, 1), Some(10), "driven: {driven}");
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(get(&l1, 1), None, "driven: {driven}");
        assert_eq!((l1.stats().hits, l1.stats().misses, l1.stats().expired, l1.stats().entries), (4, 1, 1, 0));
        if let Some(running) = running {
            running.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_thread_with_hits_only_notices_that_the_clock_stands() {
    let l1 = small();
    let mut stuck = Box::pin(l1.clock().run());
    assert!(futures_util::poll!(stuck.as_mut()).is_pending());
    put(&l1, 1, 10);
    assert_eq!(get(&l1, 1), Some(10));
    tokio::time::advance(Duration::from_secs(90)).await;
    let served = (0..1000).filter(|_| get(&l1, 1).is_some()).count();
    assert!(served <= ATTEND as usize, "served {served} times after it expired");
}

#[tokio::test(start_paused = true)]
async fn an_entry_lives_no_longer_than_the_time_it_was_given() {
    let l1 = small();
    l1.insert(key(1), Fill { remaining: Some(Duration::from_secs(5)), ..fill(&l1, 1, &[]) });
    l1.insert(key(2), Fill { ttl: Some(Duration::from_secs(2)), ..fill(&l1, 2, &[]) });
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!((get(&l1, 1), get(&l1, 2)), (Some(1), None));
    let entry = l1.entry(key(1).as_ref()).unwrap();
    assert_eq!(l1.age_and_remaining(&entry), (Duration::from_secs(3), Duration::from_secs(2)));
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(get(&l1, 1), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_filled_together_does_not_expire_together() {
    let l1 = cache(Config::default());
    for i in 0..500 {
        put(&l1, i, i);
    }
    let left = |l1: &L1| (0..500).filter(|&i| get(l1, i).is_some()).count();
    tokio::time::advance(Duration::from_millis(53_999)).await;
    assert_eq!(left(&l1), 500, "no lifetime is more than a tenth shorter");
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!((200..300).contains(&left(&l1)), "{} of 500 at half time", left(&l1));
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(left(&l1), 0, "no lifetime is more than a tenth longer");
}

#[tokio::test(start_paused = true)]
async fn an_expired_entry_stands_in_for_a_failed_load_only() {
    let l1 = small();
    let stale = |l1: &L1| l1.stale(key(1).as_ref()).and_then(|entry| entry.value::<u64>().copied());
    l1.insert(key(1), Fill { stale_for: Duration::from_secs(30), ..fill(&l1, 7, &["a"]) });
    tokio::time::advance(Duration::from_secs(70)).await;
    assert_eq!((get(&l1, 1), stale(&l1)), (None, Some(7)));
    l1.sweep();
    assert_eq!(stale(&l1), Some(7));
    l1.fences().invalidate(&["a"], None);
    assert_eq!(stale(&l1), None, "what was invalidated stands in for nothing");
    l1.insert(key(1), Fill { stale_for: Duration::from_secs(30), ..fill(&l1, 8, &["a"]) });
    tokio::time::advance(Duration::from_secs(91)).await;
    assert_eq!(stale(&l1), None);
    l1.sweep();
    assert_eq!(l1.stats().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn one_caller_is_asked_to_refresh_ahead() {
    let l1 = small();
    l1.insert(key(1), Fill { refresh_ahead: Some(Duration::from_secs(20)), ..fill(&l1, 7, &[]) });
    let asked = |l1: &L1| (0..10).filter(|_| l1.get::<u64>(key(1).as_ref()).unwrap().refresh).count();
    tokio::time::advance(Duration::from_millis(39_500)).await;
    assert_eq!(asked(&l1), 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(asked(&l1), 1);
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(asked(&l1), 1, "again, as nothing came of it");
}

#[test]
fn an_invalidated_value_is_never_found_again() {
    let l1 = small();
    let late = fill(&l1, 1, &["user:1", "users"]);
    assert!(l1.insert(key(1), fill(&l1, 1, &["user:1", "users"])));
    put(&l1, 2, 2);
    assert_eq!((get(&l1, 1), get(&l1, 1)), (Some(1), Some(1)));
    l1.fences().invalidate(&["users"], None);
    assert_eq!(get(&l1, 1), None);
    assert!(!l1.insert(key(1), late), "read before the invalidation");
    assert_eq!((get(&l1, 1), get(&l1, 2)), (None, Some(2)));
    l1.insert(key(1), fill(&l1, 3, &["user:1", "users"]));
    assert_eq!((get(&l1, 1), get(&l1, 1)), (Some(3), Some(3)));
    l1.clear();
    assert_eq!((get(&l1, 1), get(&l1, 2), l1.stats().entries), (None, None, 0));
}

#[test]
fn a_replaced_or_removed_value_is_not_found_by_any_thread() {
    for policy in POLICIES {
        let l1 = of_size(100, policy);
        put(&l1, 1, 1);
        std::thread::scope(|scope| {
            let (say, hear) = std::sync::mpsc::channel::<Option<u64>>();
            let l1 = &l1;
            let other = scope.spawn(move || {
                for expected in hear {
                    assert_eq!((get(l1, 1), get(l1, 1)), (expected, expected));
                }
            });
            assert_eq!(get(l1, 1), Some(1));
            say.send(Some(1)).unwrap();
            while l1.stats().hits < 3 {
                std::thread::yield_now();
            }
            put(l1, 1, 2);
            say.send(Some(2)).unwrap();
            while l1.stats().hits < 5 {
                std::thread::yield_now();
            }
            assert!(l1.remove(key(1).as_ref()));
            say.send(None).unwrap();
            drop(say);
            other.join().unwrap();
        });
    }
}

#[test]
fn patterns_take_out_what_matches() {
    for policy in POLICIES {
        let l1 = of_size(100, policy);
        for i in 0..10 {
            l1.insert(key(i), fill(&l1, i, &[if i % 2 == 0 { "even" } else { "odd" }]));
        }
        assert_eq!(l1.invalidate_where(|entry| entry.tags().iter().any(|tag| tag.starts_with("od"))), 5);
        assert_eq!((0..10).filter(|&i| get(&l1, i).is_some()).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    }
}

#[test]
fn as_many_entries_fit_as_were_allowed_and_never_more() {
    for policy in POLICIES {
        for size in [1, 2, 63, 1000, 1013] {
            let l1 = of_size(size, policy);
            for i in 0..size as u64 {
                put(&l1, i, i);
            }
            let kept = (0..size as u64).filter(|&i| get(&l1, i) == Some(i)).count();
            assert_eq!((kept, l1.stats().evicted), (size, 0), "{policy:?} of {size}");
            for i in 0..3 * size as u64 {
                put(&l1, 5_000 + i, i);
                assert_eq!(l1.stats().entries, size, "{policy:?} of {size}");
            }
            assert_eq!((l1.places.len(), l1.stats().evicted), (size, 3 * size as u64), "{policy:?} of {size}");
        }
    }
}

#[test]
fn the_least_recently_used_has_to_go() {
    let l1 = of_size(50, Policy::Lru);
    for i in 0..50 {
        put(&l1, i, i);
    }
    for turn in 0..200 {
        // In the thread's table after the first time, so the shard must be told.
        assert_eq!(get(&l1, 7), Some(7), "in turn {turn}");
        put(&l1, 1000 + turn, turn);
    }
    assert_eq!(get(&l1, 8), None);
    assert_eq!(get(&l1, 1199), Some(199));
}

#[test]
fn a_scan_does_not_push_out_what_is_used() {
    let l1 = of_size(100, Policy::ScanResistant);
    let find = |i: u64| get(&l1, i).is_some() || !l1.insert(key(i), fill(&l1, i, &[]));
    for _ in 0..20 {
        for i in 0..50 {
            find(i);
        }
    }
    for i in 0..2000 {
        find(10_000 + i);
    }
    let left = (0..50).filter(|&i| get(&l1, i).is_some()).count();
    assert!(left >= 40, "{left} of 50 are left");
}

#[test]
fn entries_weigh_no_more_than_the_budget() {
    for policy in POLICIES {
        let bytes = NonZeroUsize::new(10_000);
        let l1 = cache(Config { bytes, policy, ..Config::default() });
        for i in 0..200 {
            l1.insert(key(i), Fill { bytes: 100 + i as usize, ..fill(&l1, i, &[]) });
            assert!(l1.stats().bytes <= 10_000, "{policy:?}: {}", l1.stats().bytes);
        }
        assert!(l1.stats().bytes > 8_000, "{policy:?}: {}", l1.stats().bytes);
        assert!(!l1.insert(key(1), Fill { bytes: 10_001, ..fill(&l1, 1, &[]) }));
        assert_eq!(get(&l1, 1), None);
        l1.clear();
        assert_eq!((l1.stats().bytes, l1.stats().entries), (0, 0), "{policy:?}");
    }
}

#[test]
fn lookups_are_counted_by_method_also_of_threads_that_ended() {
    let l1 = small();
    let two = with_key(2, &1u64, |key| key.to_key()).unwrap();
    put(&l1, 1, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(get(&l1, 1), Some(1));
            assert_eq!(get(&l1, 1), Some(1));
        });
    });
    assert!(l1.get::<u64>(two.as_ref()).is_none());
    let expected = vec![(1, Lookups { hits: 2, misses: 0 }), (2, Lookups { hits: 0, misses: 1 })];
    assert_eq!(l1.lookups(), expected);
    assert_eq!(l1.lookups(), expected, "counting them twice changes nothing");
}

/// Counts how many of its kind there are.
#[derive(Clone)]
struct Tracked(Arc<AtomicUsize>);

impl Tracked {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Tracked(alive.clone())
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_threads_table_lets_go_of_what_left_the_cache() {
    let l1 = small();
    let alive = Arc::new(AtomicUsize::new(0));
    for i in 0..20 {
        let value = Arc::new(Tracked::new(&alive));
        l1.insert(key(i), Fill::new(value, tags(&[]), Snapshot::default()));
        drop(l1.get::<Arc<Tracked>>(key(i).as_ref()));
    }
    assert_eq!(alive.load(Ordering::SeqCst), 20);
    l1.clear();
    l1.sweep();
    assert!(l1.get::<u64>(key(99).as_ref()).is_none(), "any lookup that misses will do");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[test]
fn a_value_that_looks_into_the_cache_while_it_is_cloned_or_dropped_is_served() {
    struct Nosy(Arc<L1>);
    impl Clone for Nosy {
        fn clone(&self) -> Self {
            let _ = get(&self.0, 2);
            let _ = get(&self.0, 3);
            Nosy(self.0.clone())
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = get(&self.0, 2);
        }
    }
    let l1 = Arc::new(small());
    put(&l1, 2, 2);
    l1.insert(key(1), Fill::new(Nosy(l1.clone()), tags(&[]), Snapshot::default()));
    for _ in 0..3 {
        assert!(l1.get::<Nosy>(key(1).as_ref()).is_some());
    }
    l1.clear();
}

#[test]
fn a_value_of_another_type_is_a_miss() {
    let l1 = small();
    put(&l1, 1, 1);
    assert!(l1.get::<String>(key(1).as_ref()).is_none());
    assert_eq!(get(&l1, 1), Some(1));
    assert!(l1.get::<String>(key(1).as_ref()).is_none());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let wrong = Config { ttl: Duration::ZERO, jitter: 1.5, ..Config::default() };
    assert_eq!(L1::new(wrong, Arc::default()).unwrap_err().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done in whatever order, what is found is what was stored last, and the bound is kept.
    #[test]
    fn a_value_that_is_found_is_the_last_one(
        steps in proptest::collection::vec((0u8..6, 0u64..24), 1..400),
        size in 1usize..20,
        scan: bool,
    ) {
        let l1 = of_size(size, if scan { Policy::ScanResistant } else { Policy::Lru });
        let mut last = std::collections::HashMap::new();
        for (i, (what, of)) in steps.into_iter().enumerate() {
            match what {
                0 | 1 => {
                    let tag = format!("tag:{}", of % 3);
                    if l1.insert(key(of), fill(&l1, i as u64, &[&tag])) {
                        last.insert(of, i as u64);
                    } else {
                        // A scan resistant cache of a few entries may prefer those it has; the old value is gone all the same.
                        prop_assert!(scan);
                        last.remove(&of);
                    }
                }
                2 => {
                    l1.fences().invalidate(&[format!("tag:{}", of % 3)], None);
                    last.retain(|other, _| other % 3 != of % 3);
                }
                3 => {
                    l1.remove(key(of).as_ref());
                    last.remove(&of);
                }
                _ => {
                    let found = get(&l1, of);
                    prop_assert!(found.is_none() || found == last.get(&of).copied());
                }
            }
            prop_assert!(l1.stats().entries <= size);
            prop_assert_eq!(l1.stats().entries, l1.places.len());
        }
    }
}

/// Threads that read, fill and invalidate one another's keys: nobody finds what an invalidation that had returned made old.
#[test]
fn threads_never_find_what_was_invalidated_before_they_looked() {
    for policy in POLICIES {
        let l1 = of_size(16, policy);
        let truth: Vec<AtomicU64> = (0..24).map(|_| AtomicU64::new(0)).collect();
        let told: Vec<AtomicU64> = (0..24).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (l1, truth, told) = (&l1, &truth, &told);
                scope.spawn(move || {
                    let mut seed = thread + 1;
                    for _ in 0..20_000 {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let of = (seed >> 33) % 24;
                        let tag = format!("row:{of}");
                        let at = of as usize;
                        if (seed >> 40).is_multiple_of(8) {
                            let new = truth[at].fetch_add(1, Ordering::AcqRel) + 1;
                            l1.fences().invalidate(&[&tag], None);
                            told[at].fetch_max(new, Ordering::AcqRel);
                            continue;
                        }
                        let least = told[at].load(Ordering::Acquire);
                        match get(l1, of) {
                            Some(value) => assert!(value >= least, "{value} after {least}"),
                            None => {
                                let snapshot = l1.fences().snapshot(&[&tag]);
                                let value = truth[at].load(Ordering::Acquire);
                                l1.insert(key(of), Fill::new(value, tags(&[&tag]), snapshot));
                            }
                        }
                        assert!(l1.stats().entries <= 16);
                    }
                });
            }
        });
        assert_eq!(l1.stats().entries, l1.places.len());
    }
}
