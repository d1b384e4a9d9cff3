use super::*;
use proptest::prelude::*;

fn report(role: Role, timeline: u32, lsn: u64, started: i64) -> NodeReport {
    NodeReport {
        role,
        system_identifier: 1,
        timeline: Some(timeline),
        lsn: Lsn(lsn),
        streaming: None,
        read_only: false,
        paused: false,
        upstream: None,
        forked_at: None,
        server: ServerMark { started, port: 5432 },
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Scene {
    past: Succession,
    names: [Arc<str>; 2],
    forks: BTreeMap<u32, Lsn>,
    start: Instant,
}

impl Scene {
    fn new(forks: &[(u32, u64)]) -> Self {
        Scene {
            past: Succession::default(),
            names: ["a", "b"].map(Arc::from),
            forks: forks.iter().map(|(timeline, lsn)| (*timeline, Lsn(*lsn))).collect(),
            start: Instant::now(),
        }
    }

    fn leads(&mut self, node: usize, second: u64, report: &NodeReport, follower: Option<i64>) {
        let at = self.start + seconds(second);
        let follower = follower.map(|started| ServerMark { started, port: 5432 });
        self.past.leads((node, &self.names[node]), (report, at), follower, &self.forks, at);
    }

    fn latest(&self) -> Option<Takeover> {
        self.past.latest.as_deref().cloned()
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_lasts_from_the_first_sign_until_the_next_primary() {
    let mut scene = Scene::new(&[(2, 700)]);
    scene.leads(0, 0, &report(Role::Primary, 1, 500, 10), None);
    scene.past.doubts(Some(1), scene.start + seconds(1));
    scene.past.doubts(Some(0), scene.start + seconds(2));
    // An answer to a question from before says nothing, one from later does.
    scene.leads(0, 1, &report(Role::Primary, 1, 600, 10), None);
    scene.leads(0, 3, &report(Role::Primary, 1, 650, 10), None);
    scene.past.doubts(Some(0), scene.start + seconds(5));
    scene.past.doubts(None, scene.start + seconds(6));
    scene.past.led.as_mut().unwrap().end = Lsn(900);
    scene.leads(1, 9, &report(Role::Primary, 2, 710, 20), Some(20));
    let taken = scene.latest().unwrap();
    assert_eq!((&*taken.from, &*taken.to, taken.number, taken.timeline), ("a", "b", 1, Some(2)));
    assert_eq!((taken.outage, taken.lost_bytes), (seconds(4), Some(200)));
    // The old one was further than anybody had seen.
    scene.past.hears_of_the_old_one(0, &report(Role::Primary, 1, 950, 11));
    assert_eq!(scene.latest().unwrap().lost_bytes, Some(250));
    scene.past.hears_of_the_old_one(0, &report(Role::Replica, 2, 5000, 12));
    scene.past.hears_of_the_old_one(1, &report(Role::Primary, 1, 5000, 20));
    assert_eq!(scene.latest().unwrap().lost_bytes, Some(250));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_comes_back_is_no_takeover() {
    let mut scene = Scene::new(&[]);
    scene.leads(0, 0, &report(Role::Primary, 1, 500, 10), None);
    scene.past.doubts(None, scene.start + seconds(1));
    scene.leads(0, 9, &report(Role::Primary, 1, 500, 11), None);
    // By another address.
    scene.leads(1, 10, &report(Role::Primary, 1, 500, 11), None);
    assert_eq!(scene.latest(), None);
    scene.leads(1, 11, &report(Role::Primary, 2, 500, 11), None);
    assert_eq!(scene.latest().unwrap().outage, Duration::ZERO, "the first trouble was over");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_tell_is_not_called_nothing() {
    for (forks, timeline, follower) in [
        (vec![(2, 700)], 2, Some(19)), // it was started again since
        (vec![(2, 700)], 2, None),     // it was never seen as a replica
        (vec![(3, 700)], 3, Some(20)), // there was another one between
        (vec![], 2, Some(20)),         // it does not say
        (vec![(2, 700)], 1, Some(20)), // no new timeline at all
    ] {
        let mut scene = Scene::new(&forks);
        scene.leads(0, 0, &report(Role::Primary, 1, 600, 10), None);
        scene.leads(1, 1, &report(Role::Primary, timeline, 710, 20), follower);
        assert_eq!(scene.latest().unwrap().lost_bytes, None, "{forks:?}");
    }
    let mut scene = Scene::new(&[(2, 700), (3, 650)]);
    scene.leads(0, 0, &report(Role::Primary, 1, 690, 10), None);
    scene.leads(1, 1, &report(Role::Primary, 3, 710, 20), Some(20));
    assert_eq!(scene.latest().unwrap().lost_bytes, Some(40), "the earlier of two forks counts");
}

fn at(timeline: u32, lsn: u64) -> Position {
    Position { timeline, lsn: Lsn(lsn) }
}

#[test]
fn a_position_of_an_earlier_timeline_is_carried_over_up_to_its_end() {
    let forks: BTreeMap<u32, Lsn> = [(2, Lsn(500)), (3, Lsn(800))].into();
    assert_eq!(carried_over(at(1, 400), 3, &forks), (at(3, 400), false));
    assert_eq!(carried_over(at(1, 600), 3, &forks), (at(3, 500), true), "it is lost");
    assert_eq!(carried_over(at(2, 800), 3, &forks), (at(3, 800), false));
    assert_eq!(carried_over(at(3, 9000), 3, &forks), (at(3, 9000), false));
    assert_eq!(carried_over(at(4, 1), 3, &forks), (at(4, 1), false), "from a caller who knows more");
    assert_eq!(carried_over(at(1, 600), 2, &BTreeMap::new()), (at(2, 600), false), "nobody knows");
}

proptest! {
    #[test]
    fn what_has_replayed_less_than_was_kept_does_not_pass(fork in 1u64..1000, token in 1u64..1000, replayed in 0u64..1000) {
        let forks: BTreeMap<u32, Lsn> = [(2, Lsn(fork))].into();
        let (wanted, lost) = carried_over(at(1, token), 2, &forks);
        prop_assert_eq!(at(2, replayed).covers(wanted), replayed >= token.min(fork));
        prop_assert!(!at(1, replayed).covers(wanted), "one that is still on the old timeline is not asked");
        prop_assert_eq!(lost, token > fork);
    }
}
