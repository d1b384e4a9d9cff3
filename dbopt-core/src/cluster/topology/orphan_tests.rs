//! Replicas whose primary is gone.

use super::tests::{SECOND, cause, hear, memory, primary, replica, silent, states};
use super::*;
use crate::backend::Upstream;

/// Receives nothing.
fn cut(timeline: u32, lsn: u64) -> Result<NodeReport, String> {
    Ok(NodeReport { streaming: Some(false), ..replica(timeline, lsn) })
}

/// Receives from this address.
fn fed(from: &str, timeline: u32, lsn: u64) -> Result<NodeReport, String> {
    Ok(NodeReport { upstream: Some(Upstream { host: from.into(), port: 5432 }), ..replica(timeline, lsn) })
}

#[tokio::test(start_paused = true)]
async fn without_a_primary_replicas_that_have_what_it_had_go_on_serving() {
    use NodeState::{Degraded, Disconnected, Healthy, Unreachable};
    let (mut memory, start) = (memory(4), Instant::now());
    for s in 0..20 {
        let (lsn, at) = (100 * u64::from(s), start + SECOND * s);
        let words = vec![Ok(primary(1, lsn)), fed("10.0.0.0", 1, lsn), cut(1, lsn.min(1000)), fed("10.0.0.1", 1, lsn)];
        hear(&mut memory, at, words);
    }
    // Node 2 was cut off for longer than reads may be behind; node 1 has more than was seen of the primary, node 3 is the end of a cascade.
    let words = || vec![silent("dead"), cut(1, 1950), cut(1, 1000), fed("10.0.0.1", 1, 1950)];
    for s in 20..60 {
        let seen = hear(&mut memory, start + SECOND * s, words());
        assert_eq!(states(&seen), [Unreachable, Degraded, Disconnected, Healthy], "second {s}");
        assert!(cause(&seen, 1).contains("there is no primary"), "{}", cause(&seen, 1));
    }
    // Once another one leads, who does not follow it is behind.
    let promoted = NodeReport { forked_at: Some(Lsn(1950)), ..primary(2, 2000) };
    let words = vec![silent("dead"), Ok(promoted), cut(1, 1000), fed("10.0.0.1", 1, 1950)];
    let seen = hear(&mut memory, start + SECOND * 60, words);
    assert_eq!(states(&seen), [Unreachable, Healthy, Disconnected, Disconnected]);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_cut_off_a_moment_ago_is_as_good_as_the_limit_allows() {
    let (mut memory, start) = (memory(3), Instant::now());
    for s in 0..20 {
        let lsn = 100 * u64::from(s);
        let words = vec![Ok(primary(1, lsn)), cut(1, lsn.min(1500)), cut(1, lsn.min(1200))];
        let seen = hear(&mut memory, start + SECOND * s, words);
        assert_eq!(states(&seen)[1..], [NodeState::Disconnected, NodeState::Disconnected], "while there is one");
    }
    // At the primary's last word the first one lacked what was 3 s old, the second one what was 6 s old.
    for s in 20..40 {
        let seen = hear(&mut memory, start + SECOND * s, vec![silent("dead"), cut(1, 1500), cut(1, 1200)]);
        assert_eq!(states(&seen)[1..], [NodeState::Degraded, NodeState::Disconnected], "second {s}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_sign_that_somebody_writes_a_replica_that_is_cut_off_serves_no_reads() {
    let signs: [(&str, Vec<Result<NodeReport, String>>); 6] = [
        ("the primary is cut off from us alone", vec![silent("lost"), cut(1, 100), fed("10.0.0.0", 1, 100)]),
        ("one follows somebody whom nobody knows", vec![silent("lost"), cut(1, 100), fed("10.9.9.9", 1, 100)]),
        ("somebody was promoted elsewhere", vec![silent("lost"), cut(1, 100), fed("10.9.9.9", 2, 100)]),
        ("it was on another timeline itself", vec![silent("lost"), cut(2, 100), cut(1, 100)]),
        ("one does not say whom it follows", vec![silent("lost"), cut(1, 100), Ok(replica(1, 100))]),
        (
            "its timeline is not known",
            vec![silent("lost"), cut(1, 100).map(|report| NodeReport { timeline: None, ..report }), cut(1, 100)],
        ),
    ];
    for (sign, words) in signs {
        let (mut memory, now) = (memory(3), Instant::now());
        hear(&mut memory, now, vec![Ok(primary(1, 100)), fed("10.0.0.0", 1, 100), fed("10.0.0.0", 1, 100)]);
        let seen = hear(&mut memory, now + SECOND, words);
        assert_eq!((seen.primary, seen.nodes[1].state), (None, NodeState::Disconnected), "{sign}");
    }
    // Two primaries of which none is believed; one that was set read-only writes nothing.
    let (mut memory, now) = (self::memory(4), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(2, 9)), silent("dead"), silent("dead"), fed("10.0.0.0", 2, 9)]);
    let two = vec![silent("dead"), Ok(primary(2, 9)), Ok(primary(2, 9)), cut(2, 9)];
    let seen = hear(&mut memory, now + SECOND, two);
    assert_eq!((seen.primary, seen.nodes[3].state), (None, NodeState::Disconnected));
    let closed = NodeReport { read_only: true, ..primary(2, 9) };
    let words = vec![Ok(closed), silent("dead"), silent("dead"), cut(2, 9)];
    let seen = hear(&mut memory, now + SECOND * 2, words);
    assert_eq!((seen.primary, seen.nodes[3].state), (None, NodeState::Degraded));
}

#[tokio::test(start_paused = true)]
async fn who_has_never_seen_a_primary_does_not_know_what_it_had() {
    let seen = hear(&mut memory(3), Instant::now(), vec![silent("dead"), cut(1, 100), cut(1, 100)]);
    assert_eq!(states(&seen)[1..], [NodeState::Disconnected, NodeState::Disconnected]);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_was_lost_itself_is_held_down_all_the_same() {
    let (mut memory, now) = (memory(3), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(replica(1, 100)), Ok(replica(1, 100))]);
    hear(&mut memory, now + SECOND, vec![silent("dead"), silent("dead"), cut(1, 100)]);
    let seen = hear(&mut memory, now + SECOND * 2, vec![silent("dead"), cut(1, 100), cut(1, 100)]);
    assert_eq!(states(&seen)[1..], [NodeState::Returning, NodeState::Degraded]);
    let later = hear(&mut memory, now + SECOND * 5, vec![silent("dead"), cut(1, 100), cut(1, 100)]);
    assert_eq!(states(&later)[1..], [NodeState::Degraded, NodeState::Degraded]);
}
