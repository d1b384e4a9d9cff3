use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::backend::fake::FakeCluster;
use crate::query::advise::{Advising, Report, Unneeded};
use crate::runtime::{Config, Extras};

/// Counts how often it is asked, and where; refuses the first `refuses` times.
#[derive(Default)]
struct Counting {
    asked: AtomicUsize,
    refuses: usize,
    where_to: Mutex<Vec<String>>,
}

impl Advisor for Counting {
    fn advise<'a>(&'a self, primary: &'a Endpoint, _: &'a Workload) -> Advising<'a> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        self.where_to.lock().unwrap().push(primary.name.to_string());
        let report = || Report {
            missing: Vec::new(),
            unneeded: vec![Unneeded {
                kind: "invalid".into(),
                table: "public.t".into(),
                name: "broken".into(),
                bytes: 0.0,
                drop: "DROP INDEX CONCURRENTLY broken".into(),
                why: "it is".into(),
            }],
            rejected: Vec::new(),
            skipped: Vec::new(),
            statements: 0,
            notes: Vec::new(),
        };
        Box::pin(async move { if number < self.refuses { Err("not now".to_owned()) } else { Ok(report()) } })
    }
}

async fn connected(every: Duration, advisor: Option<Arc<Counting>>) -> Arc<Runtime<FakeCluster>> {
    let cluster = FakeCluster::default();
    drop((cluster.node("a"), cluster.node("b")));
    let mut config = Config::for_urls(["fake://b", "fake://a"]);
    config.insight.index_advice = every;
    let advisor = advisor.map(|advisor| advisor as Arc<dyn Advisor>);
    Runtime::connect_with(cluster, config, Extras { advisor, ..Extras::default() }).await.unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn it_is_looked_some_minutes_after_the_start_and_then_as_often_as_it_is_wanted() {
    let advisor = Arc::new(Counting::default());
    let every = Duration::from_secs(600);
    let db = connected(every, Some(advisor.clone())).await;
    sleep(Duration::from_secs(180)).await;
    let status = db.status().insight.indexes;
    assert_eq!((advisor.asked.load(Ordering::SeqCst), status.absent.as_deref()), (0, Some("not looked yet")));
    assert!(status.next_seconds.is_some_and(|next| next < 300.0), "{status:?}");
    assert!(!db.metrics().contains("dbopt_index_advice{"), "nothing is known yet");
    sleep(Duration::from_secs(220)).await;
    let status = db.status().insight.indexes;
    assert_eq!((advisor.asked.load(Ordering::SeqCst), status.looks, status.absent), (1, [1, 0], None));
    assert_eq!(status.report.unwrap().unneeded[0].name, "broken");
    assert!(db.metrics().contains(r#"dbopt_index_advice{kind="invalid"} 1"#), "{}", db.metrics());
    sleep(every * 5).await;
    let asked = advisor.asked.load(Ordering::SeqCst);
    assert!((4..=8).contains(&asked), "{asked}: the first, and five more");
    assert!(advisor.where_to.lock().unwrap().iter().all(|name| name == "a"), "the primary is asked");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_failed_is_made_again_soon_and_what_was_known_stays() {
    let advisor = Arc::new(Counting { refuses: 1, ..Counting::default() });
    let db = connected(HOUR, Some(advisor.clone())).await;
    sleep(Duration::from_secs(400)).await;
    let status = db.status().insight.indexes;
    assert_eq!((status.looks, status.absent.as_deref(), status.report.is_some()), ([0, 1], Some("not now"), false));
    sleep(Duration::from_secs(20 * 60)).await;
    assert_eq!(db.status().insight.indexes.looks, [1, 1]);
    tell(&db.insight, Duration::ZERO, Err("lost".into())).unwrap_err();
    let status = db.status().insight.indexes;
    assert_eq!((status.absent.as_deref(), status.report.is_some()), (Some("lost"), true));
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_where_that_is_not_wanted_or_not_possible() {
    for (every, advisor, why) in [
        (Duration::ZERO, Some(Arc::new(Counting::default())), "index_advice"),
        (Duration::from_secs(60), None, "without the feature `advise`"),
    ] {
        let db = connected(every, advisor.clone()).await;
        sleep(Duration::from_secs(900)).await;
        let status = db.status().insight.indexes;
        assert!(status.absent.as_ref().is_some_and(|absent| absent.contains(why)), "{status:?}");
        assert_eq!((advisor.map_or(0, |advisor| advisor.asked.load(Ordering::SeqCst)), status.next_seconds), (0, None));
    }
}
