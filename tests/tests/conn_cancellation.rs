//! A caller that goes away leaves nothing behind: not its statement, not its transaction, not its answer, not a connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::future::{Future, pending};
use std::pin::pin;
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Error, ErrorKind, Intent, Op};
use dbopt_tests::things::{pg_sleep, things as table};
use dbopt_tests::{Things, cluster, config, connect, prepared, until};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);

/// One connection per lane, so that the next caller needs the one that the last caller left.
fn narrow(cluster: &Cluster) -> Config {
    let mut config = config(cluster);
    (config.pool.min, config.pool.max) = (3, 3);
    config
}

async fn things_on(cluster: &Cluster) -> Things {
    Things { db: connect(narrow(cluster)).await }
}

async fn count(node: &Node, sessions: &str) -> u32 {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dbopt %' AND {sessions}");
    node.query_text(&sql).await.unwrap().unwrap().parse().unwrap()
}

/// The server process of the only connection of a lane.
async fn process(cluster: &Cluster, application: &str) -> String {
    let sql =
        format!("SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE application_name = '{application}'");
    cluster.primary().query_text(&sql).await.unwrap().unwrap()
}

/// Nothing of ours runs or is in a transaction any more.
async fn quiet(node: &Node) {
    let busy = "(state = 'active' OR state LIKE 'idle in transaction%')";
    until("the statement is gone", Duration::from_secs(1), async || count(node, busy).await == 0).await;
}

/// Drops `call` when it has run for a moment: its statement is on the server by then.
async fn abandon<F: Future>(call: F) {
    assert!(timeout(Duration::from_millis(30), call).await.is_err(), "the call had not ended");
}

/// Does `leave` five times and looks each time at how the next caller of the same lane fares.
async fn next_caller_is_served(cluster: &Cluster, things: &Things, write: bool, leave: impl AsyncFn(&Things)) {
    let mut waits = Vec::new();
    for value in 0..5 {
        leave(things).await;
        let start = Instant::now();
        if write {
            assert_eq!(things.set(value, value).await, Ok(1));
        } else {
            assert_eq!(things.read_port().await, Ok(cluster.primary().port().into()));
        }
        waits.push(start.elapsed());
        quiet(cluster.primary()).await;
    }
    waits.sort();
    println!("the next caller waited {waits:?}");
    assert!(waits[2] < Duration::from_millis(200), "{waits:?}");
}

#[tokio::test]
async fn a_read_dropped_in_the_middle_is_stopped_for_the_next_caller() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    let before = process(&cluster, "dbopt read").await;
    next_caller_is_served(&cluster, &things, false, async |things| abandon(things.slow_read(60.0)).await).await;
    assert_eq!(process(&cluster, "dbopt read").await, before, "the connection was kept");
}

#[tokio::test]
async fn a_statement_that_had_not_left_the_process_is_stopped_too() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    next_caller_is_served(&cluster, &things, false, async |things| {
        let mut call = pin!(things.db.read(&READ, async |conn| conn.batch_execute("SELECT pg_sleep(60)").await));
        assert!(call.as_mut().now_or_never().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_result_left_half_read_is_not_read_by_the_next_caller() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    let half = async |conn: &mut Conn| {
        let rows = diesel::sql_query(ENDLESS).load_stream::<Number>(conn).await?;
        let few: Vec<_> = rows.take(10).collect().await;
        assert!(few.iter().all(Result::is_ok));
        QueryResult::Ok(few.len())
    };
    next_caller_is_served(&cluster, &things, false, async |things| {
        assert_eq!(things.db.read(&READ, half).await, Ok(10));
    })
    .await;
    next_caller_is_served(&cluster, &things, false, async |things| {
        let hang = things.db.read(&READ, async |conn| {
            let rows = diesel::sql_query(ENDLESS).load_stream::<Number>(conn).await?;
            let mut rows = pin!(rows);
            rows.next().await.unwrap()?;
            pending::<QueryResult<()>>().await
        });
        abandon(hang).await;
    })
    .await;
}

/// Sent as it is made, not gathered first. Megabytes of it are on their way when it is stopped, and have to be read away: of rows of
/// a usual width.
const ENDLESS: &str = "SELECT generate_series(1, 1000000000) AS n, repeat('x', 1000) AS filling";

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    #[allow(dead_code)]
    n: i32,
}

#[tokio::test]
async fn a_call_dropped_inside_begin_leaves_no_transaction() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    let things = things_on(&cluster).await;
    let proxy = cluster.primary().proxy().unwrap();
    next_caller_is_served(&cluster, &things, true, async |things| {
        proxy.stall();
        abandon(things.set(100, 1)).await;
        proxy.heal();
    })
    .await;
    assert_eq!(things.value(100).await, Ok(None));
}

/// A session whose mode was being changed when its caller went away is asked for again, not taken for changed or unchanged.
#[tokio::test]
async fn a_call_dropped_while_its_session_was_made_read_only_does_not_mislead_the_next() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    let things = things_on(&cluster).await;
    let proxy = cluster.primary().proxy().unwrap();
    for value in 0..3 {
        assert_eq!(things.critical_set(1, value).await, Ok(1));
        proxy.delay(Duration::from_millis(40));
        abandon(things.critical_read_port()).await;
        proxy.heal();
        assert_eq!(things.critical_set(1, value).await, Ok(1));
    }
}

#[tokio::test]
async fn a_call_dropped_inside_commit_leaves_nothing_running() {
    let cluster = cluster(0).await;
    let slow_commit = "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.value = 77 THEN PERFORM pg_sleep(60); END IF; RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER linger AFTER INSERT OR UPDATE ON things DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION linger()";
    cluster.primary().execute(slow_commit).await.unwrap();
    let things = things_on(&cluster).await;
    next_caller_is_served(&cluster, &things, true, async |things| {
        abandon(things.set(200, 77)).await;
    })
    .await;
    assert_eq!(things.value(200).await, Ok(None), "its COMMIT was stopped");
}

#[tokio::test]
async fn a_call_dropped_inside_its_transaction_is_rolled_back() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    let before = process(&cluster, "dbopt write").await;
    next_caller_is_served(&cluster, &things, true, async |things| {
        abandon(things.db.transaction(async |tx| {
            things.set_in(tx, 300, 1).await?;
            tx.transaction(async |tx| {
                things.set_in(tx, 301, 1).await?;
                diesel::select(pg_sleep(60.0)).execute(tx).await
            })
            .await
        }))
        .await;
    })
    .await;
    assert_eq!((things.value(300).await, things.value(301).await), (Ok(None), Ok(None)));
    assert_eq!(process(&cluster, "dbopt write").await, before, "the connection was kept");
}

#[tokio::test]
async fn a_body_that_gives_up_on_a_statement_and_returns_ok_hands_on_a_clean_connection() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    next_caller_is_served(&cluster, &things, false, async |things| {
        let read = things.db.read(&READ, async |conn| {
            let slow = diesel::select(pg_sleep(60.0)).execute(conn);
            let gave_up = timeout(Duration::from_millis(20), slow).await.is_err();
            QueryResult::Ok(gave_up)
        });
        assert_eq!(read.await, Ok(true));
    })
    .await;
}

/// A nested transaction that was dropped half-way is undone; what the outer one did is committed.
#[tokio::test]
async fn a_nested_transaction_that_was_given_up_is_not_committed_and_the_outer_one_is() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    next_caller_is_served(&cluster, &things, true, async |things| {
        let write = things.db.write(&WRITE, async |conn| {
            things.set_in(conn, 400, 1).await?;
            let nested = conn.transaction(async |conn| {
                things.set_in(conn, 401, 1).await?;
                diesel::select(pg_sleep(60.0)).execute(conn).await
            });
            assert!(timeout(Duration::from_millis(20), nested).await.is_err());
            QueryResult::Ok(())
        });
        assert_eq!(
            timeout(Duration::from_secs(5), write).await.expect("it does not wait for what was given up"),
            Ok(())
        );
        assert_eq!(things.value(400).await, Ok(Some(1)));
        assert_eq!(things.value(401).await, Ok(None));
        assert_eq!(
            things.db.write(&WRITE, async |conn| diesel::delete(table::table.find(400)).execute(conn).await).await,
            Ok(1)
        );
    })
    .await;
}

#[tokio::test]
async fn a_body_that_fails_after_giving_up_on_a_statement_does_not_wait_for_it() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    next_caller_is_served(&cluster, &things, true, async |things| {
        let write = things.db.write(&WRITE, async |conn| {
            things.set_in(conn, 500, 1).await?;
            let slow = diesel::select(pg_sleep(60.0)).execute(conn);
            timeout(Duration::from_millis(20), slow).await.map_err(|_| diesel::result::Error::NotFound)?
        });
        let result = timeout(Duration::from_secs(5), write).await.expect("the caller is answered at once");
        assert_eq!(result, Err(diesel::result::Error::NotFound));
    })
    .await;
    assert_eq!(things.value(500).await, Ok(None));
}

/// COMMIT behind a failed statement that nobody waited for is answered with ROLLBACK: the caller is told.
#[tokio::test]
async fn a_statement_that_fails_unseen_is_not_reported_as_committed() {
    let cluster = cluster(0).await;
    let things = things_on(&cluster).await;
    things.set(1, 1).await.unwrap();
    let write = things.db.write(&WRITE, async |conn| {
        things.set_in(conn, 600, 1).await?;
        let mut insert = pin!(conn.batch_execute("INSERT INTO things VALUES (1, 1)"));
        // As a `select!` does whose other branch is ready: the statement is on its way, its answer is never looked at.
        assert!(insert.as_mut().now_or_never().is_none());
        QueryResult::Ok(())
    });
    let error = write.await.unwrap_err();
    assert!(matches!(Error::of(&error).map(Error::kind), Some(ErrorKind::RolledBack { .. })), "{error}");
    assert_eq!(things.value(600).await, Ok(None));
}

#[tokio::test]
async fn a_calls_own_time_limit_stops_its_statement() {
    let cluster = cluster(0).await;
    let mut config = narrow(&cluster);
    config.call.timeout = Duration::from_millis(300);
    let things = Things { db: connect(config).await };
    for by_context in [false, true] {
        let start = Instant::now();
        let call = things.slow_read(60.0);
        let result = match by_context {
            true => Context::anonymous().with_deadline(start + Duration::from_millis(100)).scope(call).await,
            false => call.await,
        };
        let (took, error) = (start.elapsed(), result.unwrap_err());
        let limit = if by_context { 100 } else { 300 };
        assert!((limit..limit + 150).contains(&(took.as_millis() as u64)), "{took:?}");
        assert!(matches!(Error::of(&error).map(Error::kind), Some(ErrorKind::Deadline { .. })), "{error}");
        quiet(cluster.primary()).await;
        assert!(things.read_port().await.is_ok());
    }
    let error = things.slow_write(60.0).await.unwrap_err();
    assert!(error.to_string().contains("running its statements"), "{error}");
    quiet(cluster.primary()).await;
}

/// A connection outside the pools takes its statement along as well.
#[tokio::test]
async fn a_connection_of_ones_own_stops_its_statement_when_it_is_dropped() {
    let cluster = cluster(0).await;
    let mut conn = Conn::establish(&cluster.primary().url()).await.unwrap();
    assert!(timeout(Duration::from_millis(30), conn.batch_execute("SELECT pg_sleep(60)")).await.is_err());
    until("it runs", Duration::from_secs(1), async || count_alone(&cluster).await == 1).await;
    drop(conn);
    until("it is gone", Duration::from_secs(1), async || count_alone(&cluster).await == 0).await;
}

async fn count_alone(cluster: &Cluster) -> u32 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dbopt'";
    cluster.primary().query_text(sql).await.unwrap().unwrap().parse().unwrap()
}
