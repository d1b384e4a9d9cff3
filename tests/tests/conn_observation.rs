//! A `StatementWatch` sees every statement as it was, however it was run, and no value of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::statement::{End, Statement};
use dbopt_diesel::{Intent, Op};
use dbopt_tests::things::{pg_sleep, things as table};
use dbopt_tests::{cluster, config, prepared, until};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);

/// Everything a watch was told.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Statement>>>);

impl Seen {
    async fn on(cluster: &Cluster) -> (Seen, Db) {
        let seen = Seen::default();
        let sink = seen.clone();
        let mut config = config(cluster);
        (config.pool.min, config.pool.max) = (3, 3);
        let db = Db::connect_watched(config, move |s: &Statement| sink.0.lock().push(s.clone())).await.unwrap();
        assert_eq!(seen.take().len(), 0, "setting up sessions is nobody's statement");
        (seen, db)
    }

    fn take(&self) -> Vec<Statement> {
        std::mem::take(&mut self.0.lock())
    }

    /// How statements whose text contains `part` ended, in short.
    fn ends(&self, part: &str) -> Vec<String> {
        let seen = self.0.lock();
        seen.iter().filter(|s| s.sql.contains(part)).map(|s| format!("{} {}", short(s), s.rows)).collect()
    }
}

fn short(statement: &Statement) -> String {
    match &statement.end {
        End::Completed { tag } => tag.clone(),
        End::Failed { sqlstate } => sqlstate.to_string(),
        other => format!("{other:?}"),
    }
}

fn summary(seen: &[Statement]) -> Vec<(String, String)> {
    seen.iter().map(|s| (s.sql.to_string(), short(s))).collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const INSERT: &str = r#"INSERT INTO "things" ("id", "value") VALUES ($1, $2)"#;

#[tokio::test]
async fn transactions_and_savepoints_are_seen_statement_by_statement() {
    let cluster = cluster(0).await;
    let (seen, db) = Seen::on(&cluster).await;
    let written = db.write(&WRITE, async |conn| {
        diesel::insert_into(table::table).values((table::id.eq(1), table::value.eq(2))).execute(conn).await?;
        let nested = conn.transaction(async |conn| {
            diesel::insert_into(table::table).values((table::id.eq(1), table::value.eq(2))).execute(conn).await
        });
        assert!(nested.await.is_err());
        diesel::update(table::table).set(table::value.eq(5)).execute(conn).await
    });
    assert_eq!(written.await, Ok(1));
    let wanted = [
        ("BEGIN", "BEGIN"),
        (INSERT, "INSERT 0 1"),
        ("SAVEPOINT diesel_savepoint_1", "SAVEPOINT"),
        (INSERT, "23505"),
        ("ROLLBACK TO SAVEPOINT diesel_savepoint_1", "ROLLBACK"),
        (r#"UPDATE "things" SET "value" = $1"#, "UPDATE 1"),
        ("COMMIT", "COMMIT"),
    ];
    let all = seen.take();
    assert_eq!(summary(&all), expected(&wanted));
    assert!(all.iter().all(|s| &*s.node == "primary" && s.total > Duration::ZERO && s.total < Duration::from_secs(5)));
    assert_eq!((all[1].affected(), all[5].affected(), all[6].affected()), (Some(1), Some(1), None));
    let failed = db.write(&WRITE, async |_| Err::<(), _>(diesel::result::Error::NotFound));
    assert!(failed.await.is_err());
    assert_eq!(summary(&seen.take()), expected(&[("BEGIN", "BEGIN"), ("ROLLBACK", "ROLLBACK")]));
}

#[tokio::test]
async fn every_way_of_running_a_statement_is_seen() {
    let cluster = cluster(0).await;
    let (seen, db) = Seen::on(&cluster).await;
    let read = db.read(&READ, async |conn| {
        table::table.select(table::id).load::<i64>(conn).await?;
        table::table.select(table::id).first::<i64>(conn).await.optional()?;
        let stream =
            diesel::sql_query("SELECT generate_series(1, 3) AS n, 'stream'").load_stream::<Number>(conn).await?;
        assert_eq!(stream.count().await, 3);
        diesel::sql_query("SELECT 1, 'execute'").execute(conn).await?;
        conn.batch_execute("SELECT 1, 'one'; SELECT generate_series(1, 2), 'two'").await?;
        let pg = conn.as_pg();
        diesel::sql_query("SELECT 1, 'as_pg'").execute(pg).await?;
        let (mut a, mut b) = (&*pg, &*pg);
        let first = diesel::sql_query("SELECT pg_sleep(0.05), 'pipelined 1'");
        let second = diesel::sql_query("SELECT generate_series(1, 4), 'pipelined 2'");
        tokio::try_join!(first.execute(&mut a), second.execute(&mut b))?;
        let broken = diesel::sql_query("SELECT 'never parsed' FROM nowhere").execute(conn).await;
        assert!(broken.is_err());
        let at_run_time = diesel::sql_query("SELECT 1 / $1, 'by zero'").bind::<BigInt, _>(0).execute(conn).await;
        assert!(at_run_time.is_err());
        QueryResult::Ok(())
    });
    assert_eq!(read.await, Ok(()));
    assert_eq!(seen.ends(r#"SELECT "things"."id" FROM "things""#), ["SELECT 0 0", "SELECT 0 0"]);
    assert_eq!(seen.ends("'stream'"), ["SELECT 3 3"]);
    assert_eq!(seen.ends("'execute'"), ["SELECT 1 1"]);
    assert_eq!(seen.ends("'one'"), ["SELECT 1 1", "SELECT 2 2"], "each of a script");
    assert_eq!(seen.ends("'as_pg'"), ["SELECT 1 1"]);
    assert_eq!(
        (seen.ends("'pipelined 1'"), seen.ends("'pipelined 2'")),
        (vec!["SELECT 1 1".into()], vec!["SELECT 4 4".into()])
    );
    assert_eq!(seen.ends("'never parsed'"), ["42P01 0"], "an error of its preparation");
    assert_eq!(seen.ends("'by zero'"), ["22012 0"]);
    assert_eq!(seen.take().len(), 11);
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = diesel::sql_types::Integer)]
    #[allow(dead_code)]
    n: i32,
}

/// The end of a long result is its end, not its first row.
#[tokio::test]
async fn a_long_result_is_timed_to_its_end() {
    let cluster = cluster(0).await;
    let (seen, db) = Seen::on(&cluster).await;
    let start = Instant::now();
    let rows = db.read(&READ, async |conn| {
        let rows: Vec<Number> = diesel::sql_query("SELECT generate_series(1, 300000) AS n").load(conn).await?;
        QueryResult::Ok(rows.len())
    });
    assert_eq!(rows.await, Ok(300_000));
    let took = start.elapsed();
    let all = seen.take();
    let [one] = &all[..] else { panic!("{all:?}") };
    let first = one.first_row.unwrap();
    println!("first row {first:?}, end {:?}, caller {took:?}", one.total);
    assert_eq!((one.rows, one.affected()), (300_000, Some(300_000)));
    assert!(one.total > first * 3 && one.total <= took && one.total * 2 > took, "{first:?} {:?} {took:?}", one.total);
}

/// diesel-async's own instrumentation misses this one: the error comes after the first bytes of the answer.
#[tokio::test]
async fn errors_among_the_rows_and_at_the_end_are_seen() {
    let cluster = cluster(0).await;
    cluster.primary().execute("CREATE TABLE late (id bigint PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    let (seen, db) = Seen::on(&cluster).await;
    static BARE: Op = Op::new("bare", Intent::Write).without_transaction();
    for id in [1_i64, 1] {
        let insert = db.write(&WRITE, async |conn| {
            let insert = diesel::insert_into(table::table).values((table::id.eq(id), table::value.eq(2)));
            insert.returning(table::id).get_result::<i64>(conn).await
        });
        let first = insert.await.is_ok();
        let late = db.write(&BARE, async |conn| {
            diesel::sql_query("INSERT INTO late VALUES ($1)").bind::<BigInt, _>(id).execute(conn).await
        });
        assert_eq!(late.await.is_ok(), first);
    }
    assert_eq!(seen.ends("RETURNING"), ["INSERT 0 1 1", "23505 0"]);
    assert_eq!(
        seen.ends("late"),
        ["INSERT 0 1 0", "INSERT 0 1 0", "23505 0"],
        "it was run, and then could not be committed"
    );
}

#[tokio::test]
async fn cancelled_and_lost_statements_are_seen() {
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true)).await;
    let (seen, db) = Seen::on(&cluster).await;
    let sleep = async |conn: &mut Conn| diesel::select(pg_sleep(60.0)).execute(conn).await;
    assert!(timeout(Duration::from_millis(50), db.read(&READ, sleep)).await.is_err());
    until("its end is told", Duration::from_secs(2), async || seen.ends("pg_sleep") == ["57014 0"]).await;
    assert!(seen.take()[0].total >= Duration::from_millis(20));

    let mut call = Box::pin(db.write(&WRITE, sleep));
    assert!(timeout(Duration::from_millis(50), &mut call).await.is_err());
    cluster.primary().proxy().unwrap().reset();
    assert!(timeout(Duration::from_secs(5), call).await.unwrap().is_err());
    assert_eq!(seen.ends("pg_sleep"), ["Lost 0"]);
    cluster.primary().proxy().unwrap().heal();
}

/// Bound values are in none of it, whatever they were bound to.
#[tokio::test]
async fn no_bound_value_is_seen() {
    let cluster = cluster(0).await;
    let (seen, db) = Seen::on(&cluster).await;
    let value = "Sentinel".repeat(100);
    let read = db.read(&READ, async |conn| {
        diesel::select(value.as_str().into_sql::<Text>()).get_result::<String>(conn).await?;
        diesel::sql_query("SELECT $1 || $2").bind::<Text, _>(&value).bind::<Text, _>(&value).execute(conn).await?;
        let _ = diesel::sql_query("SELECT $1::int").bind::<Text, _>(&value).execute(conn).await;
        QueryResult::Ok(())
    });
    assert_eq!(read.await, Ok(()));
    let seen = seen.take();
    assert_eq!(seen.len(), 3);
    assert!(!format!("{seen:?}").contains("Sentinel"), "{seen:?}");
}

/// Whatever is done on a connection, it is as clean as it was before: nothing begun is left uncounted, nothing counted twice.
#[tokio::test]
async fn counting_does_not_drift() {
    let cluster = cluster(0).await;
    let (seen, db) = Seen::on(&cluster).await;
    let process =
        "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE application_name = 'dbopt read'";
    let before = cluster.primary().query_text(process).await.unwrap();
    for round in 0..200_i64 {
        let read = db.read(&READ, async |conn| {
            // Fails while the statement is built: it never reaches the server.
            #[derive(AsChangeset)]
            #[diesel(table_name = table)]
            struct Nothing {
                value: Option<i64>,
            }
            let none = diesel::update(table::table).set(Nothing { value: None }).execute(conn).await;
            assert!(matches!(none, Err(diesel::result::Error::QueryBuilderError(_))));
            // Begun and never awaited.
            drop(table::table.count().get_result::<i64>(conn));
            let started = diesel::sql_query("SELECT 1").execute(conn).now_or_never();
            assert!(started.is_none());
            // Not kept: it is closed on the server after its end.
            diesel::sql_query(format!("SELECT {round}")).execute(conn).await
        });
        assert_eq!(read.await, Ok(1));
    }
    until("nothing is in use", Duration::from_secs(1), async || db.status().connections.in_use == 0).await;
    assert_eq!(cluster.primary().query_text(process).await.unwrap(), before, "it was never replaced");
    assert!(seen.ends("SELECT").iter().all(|end| end.starts_with("SELECT 1")), "and nothing was cancelled");
    let own = "SELECT count(*) FROM pg_prepared_statements";
    let left = db.read(&READ, async |conn| diesel::sql_query(own).execute(conn).await);
    assert_eq!(left.await, Ok(1));
}
