use super::*;
use crate::backend::{ServerMark, Upstream};
use crate::cluster::state::Receiver;

pub(super) const SECOND: Duration = Duration::from_secs(1);

const RULES: Rules = Rules {
    max_lag: Duration::from_secs(5),
    fresh: Duration::from_secs(3),
    patience: Patience {
        first: Duration::from_secs(2),
        longest: Duration::from_secs(60),
        memory: Duration::from_secs(600),
    },
    limits: Limits { cpu: 0.95, memory: 0.95, disk: 0.9 },
    reading_holds: Duration::from_secs(30),
};

pub(super) fn report(role: Role, timeline: u32, lsn: u64) -> NodeReport {
    NodeReport {
        role,
        system_identifier: 7,
        timeline: Some(timeline),
        lsn: Lsn(lsn),
        streaming: (role == Role::Replica).then_some(true),
        read_only: false,
        paused: false,
        upstream: None,
        forked_at: None,
        server: ServerMark { started: 0, port: 5432 },
    }
}

pub(super) fn primary(timeline: u32, lsn: u64) -> NodeReport {
    report(Role::Primary, timeline, lsn)
}

pub(super) fn replica(timeline: u32, lsn: u64) -> NodeReport {
    report(Role::Replica, timeline, lsn)
}

pub(super) fn silent(why: &str) -> Result<NodeReport, String> {
    Err(why.into())
}

/// Nodes n0, n1, ... at 10.0.0.0, 10.0.0.1, ...
pub(super) fn memory(nodes: usize) -> Memory {
    let names: Vec<Arc<str>> = (0..nodes).map(|i| Arc::from(format!("n{i}"))).collect();
    let places = (0..nodes).map(|i| Some((Arc::from(format!("10.0.0.{i}")), 5432))).collect();
    Memory::new(&names, Places::new(places))
}

/// All nodes speak at `now`, in their order; servers are told apart by their place.
pub(super) fn hear(memory: &mut Memory, now: Instant, words: Vec<Result<NodeReport, String>>) -> Topology {
    for (i, word) in words.into_iter().enumerate() {
        memory.nodes[i].word = match word {
            Err(why) => Word::Silent(why),
            Ok(mut report) => {
                if report.server.started == 0 {
                    report.server.started = 100 + i as i64;
                }
                Word::Report(Heard { report, asked: now, at: now })
            }
        };
    }
    memory.topology(now, &RULES)
}

pub(super) fn look(memory: &mut Memory, words: Vec<NodeReport>) -> Topology {
    hear(memory, Instant::now(), words.into_iter().map(Ok).collect())
}

pub(super) fn states(topology: &Topology) -> Vec<NodeState> {
    topology.nodes.iter().map(|node| node.state).collect()
}

pub(super) fn cause(topology: &Topology, i: usize) -> &str {
    topology.nodes[i].cause.as_deref().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_highest_timeline_leads_and_the_old_primary_is_fenced() {
    let mut memory = memory(2);
    let first = look(&mut memory, vec![primary(1, 100), replica(1, 90)]);
    assert_eq!(first.primary, Some(0));
    let second = look(&mut memory, vec![primary(1, 500), primary(2, 95)]);
    assert_eq!(second.primary, Some(1));
    assert_eq!(second.nodes[0].state, NodeState::Fenced);
    assert!(cause(&second, 0).contains("stale primary: it is on timeline 1, and there is timeline 2"));
    assert!(second.epoch > first.epoch);
}

#[tokio::test(start_paused = true)]
async fn a_stale_primary_that_returns_alone_is_refused() {
    let (mut memory, now) = (memory(2), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(2, 100)), silent("dead")]);
    let later = hear(&mut memory, now, vec![silent("dead"), Ok(primary(1, 900))]);
    assert_eq!((later.primary, later.nodes[1].state), (None, NodeState::Fenced));
}

#[tokio::test(start_paused = true)]
async fn a_primary_whose_replicas_stream_a_later_timeline_is_stale() {
    let mut memory = memory(2);
    let seen = look(&mut memory, vec![primary(1, 900), replica(2, 500)]);
    assert_eq!((seen.primary, seen.nodes[0].state), (None, NodeState::Fenced));
    // One that does not stream proves nothing: it may have been promoted by mistake.
    let alone = NodeReport { streaming: Some(false), ..replica(2, 500) };
    let mut memory = self::memory(2);
    let seen = look(&mut memory, vec![primary(1, 900), alone]);
    assert_eq!((seen.primary, seen.nodes[1].state), (Some(0), NodeState::Diverged));
}

#[tokio::test(start_paused = true)]
async fn of_two_equals_the_one_that_led_goes_on() {
    let mut memory = memory(2);
    look(&mut memory, vec![replica(1, 1), primary(1, 1)]);
    let both = look(&mut memory, vec![primary(1, 9), primary(1, 9)]);
    assert_eq!(both.primary, Some(1));
    assert_eq!(both.nodes[0].state, NodeState::Fenced);
    assert!(cause(&both, 0).contains("second primary on timeline 1"));
}

#[tokio::test(start_paused = true)]
async fn of_two_equals_that_never_led_the_one_that_is_followed_leads_or_none() {
    let mut undecided = memory(3);
    let seen = look(&mut undecided, vec![primary(2, 9), primary(2, 9), replica(2, 9)]);
    assert_eq!((seen.primary, seen.nodes[0].state), (None, NodeState::Fenced));
    assert!(cause(&seen, 1).contains("one of several primaries on timeline 2"));
    let follower = NodeReport { upstream: Some(Upstream { host: "10.0.0.1".into(), port: 5432 }), ..replica(2, 9) };
    let seen = look(&mut memory(3), vec![primary(2, 9), primary(2, 9), follower]);
    assert_eq!(seen.primary, Some(1));
    assert_eq!(seen.nodes[2].details.feeder.as_ref().and_then(|feeder| feeder.node), Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_clusters_node_is_foreign_whatever_it_says() {
    let stranger = NodeReport { system_identifier: 8, ..primary(9, 900) };
    let seen = look(&mut memory(2), vec![primary(1, 1), stranger]);
    assert_eq!((seen.primary, seen.nodes[1].state), (Some(0), NodeState::Foreign));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_answers_first_does_not_become_the_cluster() {
    let (mut memory, now) = (memory(2), Instant::now());
    let stranger = NodeReport { system_identifier: 8, ..replica(1, 1) };
    memory.nodes[1].word = Word::Report(Heard { report: stranger.clone(), asked: now, at: now });
    assert_eq!(memory.topology(now, &RULES).nodes[1].state, NodeState::Unknown);
    let later = look(&mut memory, vec![primary(1, 1), stranger]);
    assert_eq!((later.primary, later.nodes[1].state), (Some(0), NodeState::Foreign));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_primary_does_not_lead() {
    let seen = look(&mut memory(1), vec![NodeReport { read_only: true, ..primary(1, 1) }]);
    assert_eq!((seen.primary, seen.nodes[0].state), (None, NodeState::Fenced));
}

#[tokio::test(start_paused = true)]
async fn two_urls_of_one_server_are_one_node() {
    let same = ServerMark { started: 5, port: 5432 };
    let mut memory = memory(3);
    let leader = NodeReport { server: same, ..primary(1, 1) };
    let seen = look(&mut memory, vec![leader.clone(), leader.clone(), replica(1, 1)]);
    assert_eq!(seen.primary, Some(0));
    assert_eq!(states(&seen), [NodeState::Healthy, NodeState::Duplicate, NodeState::Healthy]);
    assert!(cause(&seen, 1).contains("same server as `n0`"));
    // A replica whose start happens to be the same is on another port, or of another cluster.
    let other = NodeReport { server: ServerMark { port: 5433, ..same }, ..replica(1, 1) };
    assert_eq!(look(&mut memory, vec![leader.clone(), other, replica(1, 1)]).nodes[1].state, NodeState::Healthy);
    // An address that moves to the primary does not take its place.
    let mut moved = self::memory(2);
    look(&mut moved, vec![replica(1, 1), leader.clone()]);
    let seen = look(&mut moved, vec![leader.clone(), leader]);
    assert_eq!((seen.primary, seen.nodes[0].state), (Some(1), NodeState::Duplicate));
}

#[tokio::test(start_paused = true)]
async fn a_replica_past_the_fork_has_diverged_and_one_before_it_may_follow() {
    let (mut memory, now) = (memory(4), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(replica(1, 100)), Ok(replica(1, 100)), Ok(replica(1, 100))]);
    let promoted = NodeReport { forked_at: Some(Lsn(110)), ..primary(2, 150) };
    let words = vec![silent("dead"), Ok(promoted.clone()), Ok(replica(1, 120)), Ok(replica(1, 110))];
    let seen = hear(&mut memory, now + SECOND, words);
    assert_eq!(states(&seen)[1..], [NodeState::Healthy, NodeState::Diverged, NodeState::Disconnected]);
    assert!(cause(&seen, 2).contains("pg_rewind"), "{}", cause(&seen, 2));
    assert!(cause(&seen, 3).contains("follows timeline 1"), "{}", cause(&seen, 3));
    let words = vec![silent("dead"), Ok(promoted), Ok(replica(1, 120)), Ok(replica(2, 150))];
    assert_eq!(hear(&mut memory, now + SECOND * 2, words).nodes[3].state, NodeState::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_replica_ahead_of_a_primary_that_was_asked_later_has_diverged() {
    let (mut memory, now) = (memory(2), Instant::now());
    // The replica was asked after the primary: it may well have more.
    assert_eq!(look(&mut memory, vec![primary(1, 100), replica(1, 100)]).nodes[1].state, NodeState::Healthy);
    memory.nodes[1].word = Word::Report(Heard {
        report: NodeReport { server: ServerMark { started: 9, port: 1 }, ..replica(1, 300) },
        asked: now + SECOND,
        at: now + SECOND,
    });
    assert_eq!(memory.topology(now + SECOND, &RULES).nodes[1].state, NodeState::Healthy);
    memory.nodes[0].word = Word::Report(Heard {
        report: NodeReport { server: ServerMark { started: 8, port: 1 }, ..primary(1, 200) },
        asked: now + SECOND * 2,
        at: now + SECOND * 2,
    });
    let seen = memory.topology(now + SECOND * 2, &RULES);
    assert_eq!(seen.nodes[1].state, NodeState::Diverged);
    assert!(cause(&seen, 1).contains("0/12C"), "{}", cause(&seen, 1));
}

#[tokio::test(start_paused = true)]
async fn a_cascading_replica_that_is_cut_off_names_whom_it_followed() {
    let (mut memory, now) = (memory(3), Instant::now());
    let fed = NodeReport { upstream: Some(Upstream { host: "10.0.0.1".into(), port: 5432 }), ..replica(1, 1) };
    hear(&mut memory, now, vec![Ok(primary(1, 1)), Ok(replica(1, 1)), Ok(fed)]);
    let cut = NodeReport { streaming: Some(false), ..replica(1, 1) };
    let seen = hear(&mut memory, now, vec![Ok(primary(1, 1)), silent("dead"), Ok(cut)]);
    assert_eq!(states(&seen), [NodeState::Healthy, NodeState::Unreachable, NodeState::Disconnected]);
    assert!(cause(&seen, 2).contains("from `n1`, which does not answer"), "{}", cause(&seen, 2));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_may_not_be_seen_is_no_fault_and_is_said() {
    let hidden = NodeReport { streaming: None, ..replica(1, 1) };
    let seen = look(&mut memory(2), vec![primary(1, 1), hidden]);
    let node = &seen.nodes[1];
    assert_eq!((node.state, node.details.receiver), (NodeState::Healthy, Some(Receiver::Hidden)));
    assert!(node.details.notes[0].contains("GRANT pg_monitor"));
}

/// A primary that writes 100 bytes a second, and a replica that replays `replayed(second)`.
fn run(seconds: u64, written: impl Fn(u64) -> u64, replayed: impl Fn(u64) -> u64) -> Vec<(NodeState, Option<f64>)> {
    let (mut memory, start) = (memory(2), Instant::now());
    let at = |s: u64| {
        hear(&mut memory, start + SECOND * s as u32, vec![Ok(primary(1, written(s))), Ok(replica(1, replayed(s)))])
    };
    (0..=seconds).map(at).map(|t| (t.nodes[1].state, t.nodes[1].lag.seconds())).collect()
}

#[tokio::test(start_paused = true)]
async fn lag_is_right_on_an_idle_primary_and_while_replay_stands_still() {
    let idle = run(120, |_| 500, |_| 500);
    assert!(idle.iter().all(|seen| *seen == (NodeState::Healthy, Some(0.0))), "{idle:?}");
    // Replay stands still at second 10, whatever the receiver says: paused, or cut off upstream.
    let stuck = run(20, |s| 100 * s, |s| 100 * s.min(10));
    for (s, seen) in stuck.iter().enumerate() {
        let lag = s.saturating_sub(11) as f64;
        let state = if lag > 5.0 { NodeState::Lagging } else { NodeState::Healthy };
        assert_eq!(*seen, (state, Some(lag)), "second {s}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lagged_serves_again_well_below_the_limit() {
    // It falls behind by one second a second from 10 on, and catches up twice as fast from 20 on.
    let replayed = |s: u64| 100 * (s.min(10) + 3 * s.saturating_sub(20)).min(s);
    let seen = run(40, |s| 100 * s, replayed);
    let states: Vec<_> = seen.iter().map(|(state, _)| *state).collect();
    let changes: Vec<_> = states.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1]).collect();
    assert_eq!(changes, [NodeState::Lagging, NodeState::Healthy], "no flicker: {seen:?}");
    let returned = states.iter().rposition(|state| *state == NodeState::Lagging).unwrap() + 1;
    assert!(seen[returned].1.is_some_and(|lag| lag <= 2.5), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_primary_lag_is_unknown_and_not_zero() {
    let (mut memory, now) = (memory(2), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(replica(1, 100))]);
    let words = || vec![silent("dead"), Ok(replica(1, 100))];
    assert_eq!(hear(&mut memory, now + SECOND, words()).nodes[1].lag, Lag::Known(Duration::ZERO));
    let later = hear(&mut memory, now + SECOND * 5, words());
    assert_eq!((later.nodes[1].lag, later.nodes[1].details.lag_bytes), (Lag::Unknown, None));
    // Nor is a frozen primary's last word news, however often the others speak.
    let (mut memory, now) = (self::memory(2), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(replica(1, 100))]);
    for s in 1..=5 {
        let at = now + SECOND * s;
        let report = NodeReport { server: ServerMark { started: 9, port: 1 }, ..replica(1, 100) };
        memory.nodes[1].word = Word::Report(Heard { report, asked: at, at });
        let known = memory.topology(at, &RULES).nodes[1].lag != Lag::Unknown;
        assert_eq!(known, s <= 3, "second {s}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_was_lost_is_trusted_again_once_it_has_caught_up() {
    let (mut memory, now) = (memory(2), Instant::now());
    let at = |memory: &mut Memory, s: u32, word| {
        hear(memory, now + SECOND * s, vec![Ok(primary(1, 100 + u64::from(s))), word])
    };
    let born = at(&mut memory, 0, Ok(replica(1, 100)));
    assert_eq!(
        (born.nodes[1].state, born.nodes[1].healthy_since),
        (NodeState::Healthy, Some(now)),
        "no hold at the start"
    );
    at(&mut memory, 1, silent("dead"));
    let back = at(&mut memory, 3, Ok(replica(1, 50)));
    assert_eq!((back.nodes[1].state, back.nodes[1].healthy_since), (NodeState::Returning, None));
    assert!(cause(&back, 1).contains("trusted in 2 s (1 loss lately)"), "{}", cause(&back, 1));
    assert_eq!(at(&mut memory, 6, Ok(replica(1, 102))).nodes[1].state, NodeState::Returning, "not before it has 103");
    let well = at(&mut memory, 7, Ok(replica(1, 103)));
    assert_eq!((well.nodes[1].state, well.nodes[1].healthy_since), (NodeState::Healthy, Some(now + SECOND * 7)));
    assert_eq!(well.nodes[1].details.losses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_returns_leads_at_once() {
    let (mut memory, now) = (memory(2), Instant::now());
    hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(replica(1, 100))]);
    hear(&mut memory, now, vec![silent("dead"), Ok(replica(1, 100))]);
    let back = hear(&mut memory, now + SECOND, vec![Ok(primary(1, 100)), Ok(replica(1, 100))]);
    assert_eq!((back.primary, back.nodes[0].state), (Some(0), NodeState::Healthy));
}

#[tokio::test(start_paused = true)]
async fn paused_replay_and_a_strained_machine_are_said_and_serve() {
    let (mut memory, now) = (memory(2), Instant::now());
    memory.nodes[0].host.note(now, HostReading { disk: Some(0.97), ..HostReading::default() });
    let paused = NodeReport { paused: true, ..replica(1, 100) };
    let seen = hear(&mut memory, now, vec![Ok(primary(1, 100)), Ok(paused)]);
    assert_eq!(states(&seen), [NodeState::Degraded, NodeState::Degraded]);
    assert!(seen.primary == Some(0) && seen.nodes.iter().all(|node| node.state.serves()));
    assert!(cause(&seen, 0).contains("97 % of its disk") && cause(&seen, 1).contains("paused"));
    let later = hear(&mut memory, now + SECOND * 31, vec![Ok(primary(1, 100)), Ok(replica(1, 100))]);
    assert_eq!(states(&later), [NodeState::Healthy, NodeState::Healthy], "an old reading holds no more");
}
