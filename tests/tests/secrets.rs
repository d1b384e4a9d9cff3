//! Passwords, bound values and URLs appear in nothing that people or programs read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::statement::Statement;
use dbopt_diesel::{Intent, Op, admin};
use dbopt_tests::log::Log;
use dbopt_tests::{connect, named, prepared};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use parking_lot::Mutex;
use tokio::time::timeout;
use tower::ServiceExt;
use tracing_subscriber::util::SubscriberInitExt;

const PASSWORD: &str = "Sentinel0Password";
const VALUE: &str = "Sentinel1Value";

static READ: Op = Op::new("read", Intent::Read);
static WRITE: Op = Op::new("write", Intent::Write);

diesel::table! {
    names (name) {
        name -> Text,
    }
}

/// Everything that was said, by whom.
#[derive(Default)]
struct Heard(BTreeMap<String, String>);

impl Heard {
    fn hear(&mut self, whose: &str, text: impl Into<String>) {
        self.0.entry(whose.to_owned()).or_default().push_str(&text.into());
    }

    fn debug(&mut self, whose: &str, thing: &dyn Debug) {
        self.hear(whose, format!("{thing:?}{thing:#?}"));
    }

    fn error(&mut self, whose: &str, error: &dyn std::error::Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.hear(whose, format!("{error}{error:?}{error:#?}"));
            next = error.source();
        }
    }

    fn has_no_secret(&self, urls: &[String]) {
        assert!(self.0.values().all(|text| !text.is_empty()));
        for (whose, text) in &self.0 {
            for secret in [PASSWORD, VALUE].into_iter().chain(urls.iter().map(String::as_str)) {
                assert!(!text.contains(secret), "{secret} in {whose}: {text}");
            }
        }
    }
}

/// The application's own error for what the server said may quote a value: it is the method's own, not dbopt's.
fn own(error: &diesel::result::Error) -> bool {
    dbopt_diesel::Error::of(error).is_none()
}

async fn every_failure(db: &Db, cluster: &Cluster, heard: &mut Heard) {
    let name = diesel::insert_into(names::table).values(names::name.eq(VALUE));
    let insert = db.write(&WRITE, async |conn| {
        diesel::insert_into(names::table).values(names::name.eq(VALUE)).execute(conn).await
    });
    assert_eq!(insert.await, Ok(1));
    let duplicate = db.write(&WRITE, async |conn| name.execute(conn).await).await.unwrap_err();
    assert!(own(&duplicate) && duplicate.to_string().contains("names_pkey"), "{duplicate}");
    let broken = db.read(&READ, async |conn| {
        diesel::sql_query("SELECT ($1::text)::int AS n").bind::<Text, _>(VALUE).execute(conn).await
    });
    let error = broken.await.unwrap_err();
    assert!(own(&error) && error.to_string().contains(VALUE), "the server quotes it to its own caller: {error}");

    let wrote_in_read = db
        .read(&READ, async |conn| diesel::insert_into(names::table).values(names::name.eq(VALUE)).execute(conn).await);
    heard.error("WroteInRead", &wrote_in_read.await.unwrap_err());
    let swallowed = db.write(&WRITE, async |conn| {
        let _ = diesel::insert_into(names::table).values(names::name.eq(VALUE)).execute(conn).await;
        QueryResult::Ok(())
    });
    heard.error("RolledBack", &swallowed.await.unwrap_err());
    let at_commit = db.write(&WRITE, async |conn| {
        let sql = "INSERT INTO notes VALUES ($1)";
        diesel::sql_query(sql).bind::<Text, _>(VALUE.repeat(2)).execute(conn).await
    });
    heard.error("Database", &at_commit.await.unwrap_err());
    let noticed = db.read(&READ, async |conn| {
        // Not in the text of the statement, which is the method's own.
        conn.batch_execute("DO $$ BEGIN RAISE WARNING 'about %', 'Sentinel1' || 'Value'; END $$").await
    });
    assert_eq!(noticed.await, Ok(()));
    let deadline =
        Context::user("ann").with_deadline(tokio::time::Instant::now() + Duration::from_millis(50)).scope(async {
            let context = Context::current();
            let result = db.read(&READ, async |conn| {
                diesel::sql_query("SELECT pg_sleep(60), $1").bind::<Text, _>(VALUE).execute(conn).await
            });
            (context, result.await)
        });
    let (context, deadline) = deadline.await;
    heard.debug("Context", &context);
    heard.error("Deadline", &deadline.unwrap_err());
    let db2 = db.clone();
    let nested = db.read(&READ, async |_| db2.read(&READ, async |conn| conn.batch_execute("").await).await);
    heard.error("NestedCall", &nested.await.unwrap_err());
    cluster.replica(1).kill().await.unwrap();
    for _ in 0..5 {
        let _ = db.read(&READ, async |conn| conn.batch_execute("SELECT 1").await).await;
    }
}

/// Key derivation for each connection takes its time in an unoptimised build.
fn small(mut config: Config) -> Config {
    (config.pool.min, config.pool.connect_timeout) = (4, Duration::from_secs(20));
    config
}

async fn get(db: &Db, path: &str) -> String {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = admin::router(db).oneshot(request).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A cluster whose password is a sentinel, a call for every kind of error with a sentinel bound, and everything that is said of it.
#[tokio::test]
async fn no_password_no_bound_value_and_no_url_is_shown_anywhere() {
    let mut heard = Heard::default();
    // Takes in what crates say through `log`, for good.
    drop(tracing_subscriber::registry().set_default());
    let (log, _guard) = Log::keep();
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).password(PASSWORD)).await;
    let tables = "CREATE TABLE names (name text PRIMARY KEY); \
         CREATE TABLE notes (name text REFERENCES names DEFERRABLE INITIALLY DEFERRED)";
    cluster.primary().execute(tables).await.unwrap();
    cluster.wait_caught_up(Duration::from_secs(5)).await.unwrap();
    let urls: Vec<String> = cluster.nodes().iter().map(|node| node.url()).collect();
    let config = small(named(cluster.nodes().iter().map(|node| (node.name(), node.url()))));
    heard.debug("Config", &config);
    heard.hear("Config as JSON", serde_json::to_string(&config).unwrap());

    let seen: Arc<Mutex<String>> = Arc::default();
    let sink = seen.clone();
    let watch = move |s: &Statement| sink.lock().push_str(&format!("{s:?}\n"));
    let db = Db::connect_watched(config, watch).await.unwrap();
    every_failure(&db, &cluster, &mut heard).await;
    heard.hear("StatementWatch", seen.lock().clone());

    heard.debug("Db", &db);
    heard.debug("Runtime", db.runtime());
    heard.debug("Status", &db.status());
    heard.debug("Op", &READ);
    for path in ["/metrics", "/metrics/json", "/health", "/health/live", "/health/ready"] {
        heard.hear(path, get(&db, path).await);
    }
    let conn = Conn::establish(&urls[0]).await.unwrap();
    heard.debug("Conn", &conn);
    let wrong = urls[0].replace(PASSWORD, "another0Sentinel0Password");
    for (what, url) in [
        ("wrong password", wrong),
        ("bad parameter", format!("{}?nonsense={PASSWORD}", urls[0])),
        ("many hosts", urls[0].replace("@", "@other:1,")),
    ] {
        heard.error(&format!("establish: {what}"), &Conn::establish(&url).await.map(drop).unwrap_err());
        heard.error(&format!("connect: {what}"), &Db::connect(Config::for_urls([url])).await.map(drop).unwrap_err());
    }
    cluster.primary().kill().await.unwrap();
    heard.error("Unavailable", &db.write(&WRITE, async |conn| conn.batch_execute("").await).await.unwrap_err());
    heard.error("no server", &Db::connect(Config::for_urls(urls.clone())).await.map(drop).unwrap_err());
    db.shutdown().await;
    heard.error("ShuttingDown", &db.read(&READ, async |conn| conn.batch_execute("").await).await.unwrap_err());
    assert!(log.with("preparing query").len() > 5, "other crates' lines are looked at too: {}", log.text());
    heard.hear("the log", log.text());
    assert!(log.with("cannot connect").len() + log.with("node is not used").len() > 0, "{}", log.text());
    heard.has_no_secret(&urls);
}

/// A URL so wrong that its parts cannot be told apart is not quoted either, nor taken for a name.
#[tokio::test]
async fn a_url_that_cannot_be_read_is_not_quoted() {
    for url in [
        format!("host=h user=u password={PASSWORD}"),
        format!("u:{PASSWORD}@h/d"),
        format!("postgres://u:{PASSWORD}/x@h/d"),
        format!("postgres://u:x/{PASSWORD}@h/d"),
        format!("postgres://u:x?{PASSWORD}@h/d"),
        format!("postgres://u:x@{PASSWORD}@h/d"),
        format!("postgres:/u:{PASSWORD}@h/d"),
    ] {
        let mut heard = Heard::default();
        heard.error("establish", &Conn::establish(&url).await.map(drop).unwrap_err());
        heard.error("connect", &Db::connect(Config::for_urls([url.clone()])).await.map(drop).unwrap_err());
        heard.has_no_secret(&[url]);
    }
}

/// The same for a commit whose connection is lost.
#[tokio::test]
async fn a_lost_commit_tells_no_value() {
    let mut heard = Heard::default();
    let (log, _guard) = Log::keep();
    let cluster = prepared(Cluster::builder().replicas(0).redis(false).proxied(true).password(PASSWORD)).await;
    cluster.primary().execute("CREATE TABLE names (name text PRIMARY KEY)").await.unwrap();
    let urls = [cluster.primary().url()];
    let db = connect(small(named([("primary", urls[0].clone())]))).await;
    let proxy = cluster.primary().proxy().unwrap();
    let write = db.write(&WRITE, async |conn| {
        diesel::insert_into(names::table).values(names::name.eq(VALUE)).execute(conn).await?;
        proxy.stall();
        QueryResult::Ok(())
    });
    let cut = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.reset();
    };
    let (outcome, ()) = timeout(Duration::from_secs(5), async { tokio::join!(write, cut) }).await.unwrap();
    heard.error("OutcomeUnknown", &outcome.unwrap_err());
    heard.hear("the log", log.text());
    heard.has_no_secret(&urls);
    let one = diesel::select(1.into_sql::<Integer>());
    proxy.heal();
    dbopt_tests::until("it goes on", Duration::from_secs(5), async || {
        db.read(&READ, async |conn| one.get_result::<i32>(conn).await).await == Ok(1)
    })
    .await;
}
