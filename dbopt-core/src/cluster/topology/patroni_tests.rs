//! Who leads, where Patroni has a say in it.

use super::tests::*;
use super::*;
use crate::backend::{ServerMark, Upstream};
use crate::cluster::patroni::{Lead, Member};

const TTL: Duration = Duration::from_secs(20);

/// The member whose server is node `i`.
fn member(i: usize) -> Member {
    let place = Some(Upstream { host: format!("10.0.0.{i}").into(), port: 5432 });
    Member { name: format!("member{i}").into(), place, started: None }
}

/// Of `nodes` nodes Patroni names one as the leader.
fn names(memory: &mut Memory, leader: usize, nodes: usize) {
    let others = (0..nodes).filter(|i| *i != leader).map(member).collect();
    says(memory, Lead::Named { leader: member(leader), others });
}

fn says(memory: &mut Memory, lead: Lead) {
    memory.said = Said { lead, notes: Vec::new(), ttl: TTL };
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_patroni_does_not_name_is_not_used() {
    let mut memory = memory(2);
    names(&mut memory, 0, 2);
    assert_eq!(look(&mut memory, vec![primary(1, 100), replica(1, 100)]).primary, Some(0));
    // Its Patroni is gone, and the server lives on: the next leader has the lock and is not promoted yet.
    names(&mut memory, 1, 2);
    let orphan = look(&mut memory, vec![primary(1, 200), replica(1, 100)]);
    assert_eq!((orphan.primary, orphan.nodes[0].state), (None, NodeState::Fenced));
    assert!(cause(&orphan, 0).contains("Patroni's leader is `member1` at 10.0.0.1:5432"), "{}", cause(&orphan, 0));
    let promoted = look(&mut memory, vec![primary(1, 300), primary(2, 150)]);
    assert_eq!((promoted.primary, promoted.nodes[0].state), (Some(1), NodeState::Fenced));
    assert_eq!(promoted.warnings, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_sql_does_not_confirm_does_not_lead() {
    let mut memory = memory(2);
    names(&mut memory, 1, 2);
    assert_eq!(look(&mut memory, vec![replica(1, 1), replica(1, 1)]).primary, None);
    let closed = NodeReport { read_only: true, ..primary(1, 1) };
    let seen = look(&mut memory, vec![replica(1, 1), closed]);
    assert_eq!(seen.primary, None);
    assert!(cause(&seen, 1).contains("closed to writes") && cause(&seen, 1).contains("dbopt switchover --open"));
    let stranger = NodeReport { system_identifier: 8, ..primary(9, 900) };
    assert_eq!(look(&mut memory, vec![replica(1, 1), stranger]).primary, None);
    assert_eq!(look(&mut memory, vec![replica(1, 1), primary(1, 1)]).primary, Some(1));
}

/// The member that was asked may not know yet: until it does neither of them leads.
#[tokio::test(start_paused = true)]
async fn neither_an_old_leader_nor_one_that_is_not_named_yet_leads() {
    let mut memory = memory(2);
    names(&mut memory, 0, 2);
    let seen = look(&mut memory, vec![primary(1, 900), primary(2, 500)]);
    assert_eq!(seen.primary, None);
    assert!(cause(&seen, 0).contains("stale primary") && cause(&seen, 1).contains("Patroni does not stand for"));
    names(&mut memory, 1, 2);
    assert_eq!(look(&mut memory, vec![primary(1, 900), primary(2, 500)]).primary, Some(1));
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_only_those_lead_that_stand_for_themselves() {
    let mut memory = memory(2);
    says(&mut memory, Lead::Standing(vec![]));
    let orphan = look(&mut memory, vec![primary(1, 1), replica(1, 1)]);
    assert_eq!((orphan.primary, orphan.nodes[0].state), (None, NodeState::Fenced));
    assert!(cause(&orphan, 0).contains("no member of Patroni goes on as the leader"));
    says(&mut memory, Lead::Standing(vec![member(0)]));
    assert_eq!(look(&mut memory, vec![primary(1, 1), replica(1, 1)]).primary, Some(0));
    says(&mut memory, Lead::Standing(vec![member(1)]));
    assert_eq!(look(&mut memory, vec![primary(1, 1), replica(1, 1)]).primary, None);
    says(&mut memory, Lead::Unsaid);
    assert_eq!(look(&mut memory, vec![primary(1, 1), replica(1, 1)]).primary, Some(0), "the servers alone decide");
}

#[tokio::test(start_paused = true)]
async fn a_member_is_known_by_its_start_its_place_or_its_name() {
    let mut memory = memory(2);
    let elsewhere = |name: &str, started| Member {
        name: name.into(),
        place: Some(Upstream { host: "192.168.0.1".into(), port: 5432 }),
        started,
    };
    let words = || {
        let started = |i: i64| ServerMark { started: 500 + i, port: 5432 };
        vec![NodeReport { server: started(0), ..primary(1, 1) }, NodeReport { server: started(1), ..replica(1, 1) }]
    };
    for (leader, found) in
        [(elsewhere("x", Some(500)), true), (elsewhere("n0", None), true), (member(0), true), (member(1), false)]
    {
        says(&mut memory, Lead::Named { leader: leader.clone(), others: vec![member(1)] });
        assert_eq!(look(&mut memory, words()).primary, found.then_some(0), "{leader}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_has_no_url_is_said_and_nobody_takes_its_place() {
    let mut memory = memory(2);
    says(&mut memory, Lead::Named { leader: member(7), others: vec![member(0)] });
    let seen = look(&mut memory, vec![primary(1, 1), replica(1, 1)]);
    assert_eq!(seen.primary, None);
    assert!(seen.warnings[0].contains("`member7` at 10.0.0.7:5432 is none of the servers"), "{:?}", seen.warnings);
    // Where none of them can be recognised nothing follows from what they are called.
    says(&mut memory, Lead::Named { leader: member(7), others: vec![member(8)] });
    let seen = look(&mut memory, vec![primary(1, 1), replica(1, 1)]);
    assert_eq!(seen.primary, Some(0));
    assert!(seen.warnings[0].contains("none of Patroni's members"), "{:?}", seen.warnings);
}

#[tokio::test(start_paused = true)]
async fn a_leader_on_an_earlier_timeline_is_believed_once_patroni_has_stood_by_it() {
    let (mut memory, now) = (memory(2), Instant::now());
    names(&mut memory, 1, 2);
    hear(&mut memory, now, vec![silent("dead"), Ok(primary(2, 500))]);
    names(&mut memory, 0, 2);
    let words = || vec![Ok(primary(1, 900)), silent("dead")];
    for second in [0, 10, 20] {
        let seen = hear(&mut memory, now + SECOND * second, words());
        assert_eq!((seen.primary, seen.timeline), (None, 2), "second {second}");
        assert!(seen.warnings[0].contains("is on timeline 1, and 2 was seen"), "{:?}", seen.warnings);
    }
    let back = hear(&mut memory, now + SECOND * 21, words());
    assert_eq!((back.primary, back.timeline, back.abandoned), (Some(0), 1, 2));
    assert!(back.warnings[0].contains("timeline regression"), "{:?}", back.warnings);
    let takeover = back.takeover.clone().unwrap();
    assert_eq!((&*takeover.to, takeover.abandoned, takeover.lost_bytes), ("n0", Some(2), None));
    // A caller who wrote on the timeline that is gone waits for nothing, and is told.
    let written = crate::position::Position { timeline: 2, lsn: Lsn(400) };
    assert!(back.carried_over(written).1);
    // It stays so, also beside the one that was given up, and until it has gone on from there.
    let beside = hear(&mut memory, now + SECOND * 22, vec![Ok(primary(1, 950)), Ok(primary(2, 500))]);
    assert_eq!((beside.primary, beside.nodes[1].state), (Some(0), NodeState::Fenced));
    let on = hear(&mut memory, now + SECOND * 23, vec![Ok(primary(3, 990)), Ok(replica(3, 990))]);
    assert_eq!((on.primary, on.timeline, on.warnings.len()), (Some(0), 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_restored_under_its_own_name_is_a_failover_as_well() {
    let (mut memory, now) = (memory(1), Instant::now());
    names(&mut memory, 0, 1);
    hear(&mut memory, now, vec![Ok(primary(5, 500))]);
    hear(&mut memory, now, vec![Ok(primary(3, 100))]);
    let back = hear(&mut memory, now + TTL + SECOND, vec![Ok(primary(3, 100))]);
    assert_eq!((back.primary, back.timeline), (Some(0), 3));
    assert_eq!(back.takeover.as_ref().unwrap().abandoned, Some(5), "what is cached may be from timeline 5");
}

#[tokio::test(start_paused = true)]
async fn patience_with_an_earlier_timeline_begins_anew_with_each_leader() {
    let (mut memory, now) = (memory(3), Instant::now());
    names(&mut memory, 2, 3);
    hear(&mut memory, now, vec![silent("dead"), silent("dead"), Ok(primary(4, 500))]);
    let mut at = |second: u32, leader: usize, words| {
        names(&mut memory, leader, 3);
        hear(&mut memory, now + SECOND * second, words).primary
    };
    let both = || vec![Ok(primary(1, 900)), Ok(primary(2, 900)), silent("dead")];
    assert_eq!(at(0, 0, both()), None);
    assert_eq!(at(15, 1, both()), None);
    assert_eq!(at(30, 1, both()), None);
    assert_eq!(at(36, 1, both()), Some(1));
}
