use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;
use crate::position::Lsn;

fn at(lsn: u64) -> Position {
    Position { timeline: 1, lsn: Lsn(lsn) }
}

#[test]
fn a_snapshot_holds_until_one_of_its_tags_is_invalidated() {
    let fences = Fences::new();
    let snapshot = fences.snapshot(&["user:1", "users"]);
    let other = fences.snapshot(&["user:2"]);
    assert!(snapshot.holds(&fences));
    fences.invalidate(&["users"], None);
    assert!(!snapshot.holds(&fences));
    assert!(other.holds(&fences));
    fences.invalidate_all(None);
    assert!(!other.holds(&fences));
    assert!(!Snapshot::default().holds(&fences), "one without tags is cleared too");
}

proptest! {
    #[test]
    fn every_tag_counts_however_many_there_are(count in 1usize..9, which in 0usize..9) {
        let tags: Vec<String> = (0..count).map(|i| format!("tag:{i}")).collect();
        let fences = Fences::new();
        let snapshot = fences.snapshot(&tags);
        prop_assert!(snapshot.holds(&fences));
        fences.invalidate(&[&tags[which % count]], None);
        prop_assert!(!snapshot.holds(&fences));
        prop_assert!(fences.snapshot(&tags).holds(&fences));
    }

    #[test]
    fn a_fill_is_sent_where_the_newest_invalidation_was_replayed(lsns in proptest::collection::vec(1u64..1000, 1..9)) {
        let fences = Fences::new();
        for &lsn in &lsns {
            fences.invalidate(&["a"], Some(at(lsn)));
        }
        fences.invalidate(&["a"], None);
        prop_assert_eq!(fences.required(&["b", "a"]), lsns.iter().max().copied().map(at));
    }
}

#[test]
fn clearing_everything_sends_all_fills_behind_its_position() {
    let fences = Fences::new();
    fences.invalidate(&["a"], Some(at(3)));
    fences.invalidate_all(Some(at(9)));
    assert_eq!(fences.required(&["a"]), Some(at(9)));
    assert_eq!(fences.required(&["never invalidated"]), Some(at(9)));
}

#[test]
fn a_lone_writer_may_store_what_it_wrote() {
    let fences = Fences::new();
    let began = fences.snapshot(&["a"]);
    let stored = fences.invalidate_for_write(&["a"], &began, Some((at(10), at(20)))).unwrap();
    assert!(stored.holds(&fences));
    assert!(!began.holds(&fences), "what was read before the write is gone");
    assert_eq!(fences.required(&["a"]), Some(at(20)));
}

#[test]
fn of_two_writers_neither_order_leaves_the_older_value() {
    // The first commits at 20, the second at 30; both began before either was done.
    for second_is_first_to_tell in [false, true] {
        let fences = Fences::new();
        let (one, two) = (fences.snapshot(&["a"]), fences.snapshot(&["a"]));
        let first = |fences: &Fences| fences.invalidate_for_write(&["a"], &one, Some((at(10), at(20))));
        let second = |fences: &Fences| fences.invalidate_for_write(&["a"], &two, Some((at(15), at(30))));
        let older = if second_is_first_to_tell {
            second(&fences);
            first(&fences)
        } else {
            let older = first(&fences);
            second(&fences);
            older
        };
        assert!(older.is_none_or(|older| !older.holds(&fences)));
    }
}

#[test]
fn a_writer_does_not_store_what_others_may_have_overwritten() {
    let fences = Fences::new();
    let began = fences.snapshot(&["a"]);
    fences.invalidate(&["a"], None);
    assert!(
        fences.invalidate_for_write(&["a"], &began, Some((at(10), at(20)))).is_none(),
        "heard of without a position"
    );
    let began = fences.snapshot(&["a"]);
    fences.invalidate_all(None);
    assert!(fences.invalidate_for_write(&["a"], &began, Some((at(20), at(30)))).is_none(), "a clear counts");
    let began = fences.snapshot(&["a"]);
    assert!(
        fences.invalidate_for_write(&["a"], &began, Some((at(25), at(40)))).is_none(),
        "30 may come after this write"
    );
    let began = fences.snapshot(&["a"]);
    assert!(fences.invalidate_for_write(&["a"], &began, Some((at(40), at(50)))).is_some());
}

/// A database of one row, a cache of one entry, readers that fill and writers that invalidate or write through, all at
/// once: whatever a write that was acknowledged put there, nothing older is ever found again.
#[test]
fn no_thread_ever_finds_what_an_acknowledged_write_replaced() {
    let fences = Arc::new(Fences::new());
    let row = Arc::new(AtomicU64::new(0));
    let cached = Arc::new(Mutex::new(None::<(Snapshot, u64)>));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let tags = ["row"];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let least = acknowledged.load(Ordering::Acquire);
                    let hit = cached.lock().clone().filter(|(snapshot, _)| snapshot.holds(&fences));
                    if let Some((_, value)) = hit {
                        assert!(value >= least, "found {value} after {least} was acknowledged");
                        continue;
                    }
                    let snapshot = fences.snapshot(&tags);
                    let value = row.load(Ordering::Acquire);
                    std::thread::yield_now();
                    *cached.lock() = Some((snapshot, value));
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for turn in 0..20_000u64 {
                        let began = fences.snapshot(&tags);
                        let lower = row.load(Ordering::Acquire);
                        let mine = row.fetch_add(1, Ordering::AcqRel) + 1;
                        if turn % 2 == 0 {
                            fences.invalidate(&tags, Some(at(mine)));
                        } else if let Some(snapshot) =
                            fences.invalidate_for_write(&tags, &began, Some((at(lower), at(mine))))
                        {
                            *cached.lock() = Some((snapshot, mine));
                        }
                        acknowledged.fetch_max(mine, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(fences.required(&tags), Some(at(40_000)));
}
