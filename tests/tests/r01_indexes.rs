//! R1.3: missing indexes are found from what is run, and proved. On real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::time::Duration;

use dbopt_diesel::advise::{Options, Report, Verified, Workload, advise};
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use dbopt_diesel::{Config, Conn};
use dbopt_tests::advise_corpus::{BOOKINGS, FLIGHTS, JANUARY_TWELVE_TIMES, SHOP, Schema, workload};
use dbopt_tests::until;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, RunQueryDsl};
use flights::load::{self, Source, YEAR_NOW};
use indicatif::ProgressBar;

/// A server with a database of `schema`, and a copy of it.
async fn filled(schema: Schema) -> (Cluster, String, Options) {
    let cluster = Cluster::builder().replicas(0).redis(false).database(schema.name).start().await.unwrap();
    for sql in schema.setup {
        cluster.primary().execute(sql).await.unwrap();
    }
    copied(cluster, schema.name).await
}

/// The same with every flight that left New York in 2013, or with January twelve times, and bookings of them.
async fn flown(source: Source) -> (Cluster, String, Options) {
    let name = "corpus_year";
    let cluster = Cluster::builder().replicas(0).redis(false).database(name).start().await.unwrap();
    let url = cluster.primary().url();
    flights::migrate::migrate(&Config::for_urls([&url])).await.unwrap();
    let mut conn = Conn::establish(&url).await.unwrap();
    load::load(&mut conn, &source, YEAR_NOW, &ProgressBar::hidden()).await.unwrap();
    drop(conn);
    if source == Source::January {
        cluster.primary().execute(JANUARY_TWELVE_TIMES).await.unwrap();
    }
    cluster.primary().execute(BOOKINGS).await.unwrap();
    copied(cluster, name).await
}

async fn copied(cluster: Cluster, name: &str) -> (Cluster, String, Options) {
    cluster.primary().execute("VACUUM").await.unwrap();
    cluster.primary().execute("ANALYZE").await.unwrap();
    let copy = format!("{name}_copy");
    cluster.create_database_from(&copy, name).await.unwrap();
    let url = cluster.primary().url();
    let options = Options { scratch: Some(cluster.primary().url_for(&copy)), ..Options::default() };
    (cluster, url, options)
}

#[derive(Default)]
struct Score {
    advised: usize,
    right: usize,
    wanted: usize,
    found: usize,
}

async fn score((_cluster, url, options): (Cluster, String, Options), schema: Schema) -> Score {
    let mut score = Score::default();
    for labelled in schema.statements() {
        let report = advise(&url, &labelled.alone(), &options).await.unwrap();
        assert!(report.skipped.is_empty(), "{}: {:?}", labelled.sql, report.skipped);
        let advised: BTreeSet<&str> = report.missing.iter().map(|advice| advice.index.as_str()).collect();
        let right =
            advised.iter().filter(|index| labelled.wanted.iter().flatten().any(|wanted| wanted == *index)).count();
        let found =
            labelled.wanted.iter().filter(|some| some.iter().any(|index| advised.contains(index.as_str()))).count();
        if right < advised.len() || found < labelled.wanted.len() {
            println!(
                "{}\n  wanted:   {:?}\n  advised:  {advised:?}\n  rejected: {:?}",
                labelled.sql, labelled.wanted, report.rejected
            );
        }
        score.advised += advised.len();
        score.right += right;
        score.wanted += labelled.wanted.len();
        score.found += found;
        for advice in &report.missing {
            assert_eq!(advice.verified, Verified::Scratch);
            assert!(advice.name.len() <= 63 && advice.size_bytes > 0);
        }
    }
    score
}

fn judge(name: &str, score: &Score) {
    let part = |some: usize, all: usize| some as f64 / all.max(1) as f64;
    let (precision, recall) = (part(score.right, score.advised), part(score.found, score.wanted));
    println!(
        "{name}: precision {precision:.3} ({} of {}), recall {recall:.3} ({} of {})",
        score.right, score.advised, score.found, score.wanted
    );
    assert!(precision >= 0.95, "{name}: precision {precision}");
    assert!(recall >= 0.9, "{name}: recall {recall}");
}

#[tokio::test]
async fn r01_3_indexes_that_the_flights_miss_are_found_and_no_others() {
    judge("flights of January, twelve times", &score(flown(Source::January).await, FLIGHTS).await);
}

#[tokio::test]
#[ignore = "downloads the flights of the whole year"]
async fn r01_3_the_flights_of_a_whole_year_miss_the_same_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let year = Source::download(folder.path()).unwrap();
    judge("all flights of 2013", &score(flown(year).await, FLIGHTS).await);
}

#[tokio::test]
async fn r01_3_indexes_that_the_shop_misses_are_found_and_no_others() {
    judge("shop", &score(filled(SHOP).await, SHOP).await);
}

/// One statement's advice, in short.
async fn advised(url: &str, sql: &str, options: &Options) -> Report {
    advise(url, &workload([sql]), options).await.unwrap()
}

const OF_PASSENGER: &str = "SELECT id, seat FROM bookings WHERE passenger = $1";

/// Each advised index is really made by the statement that is told, and the planner asked once more.
#[tokio::test]
async fn r01_3_what_is_advised_works_once_it_is_made() {
    let (cluster, url, options) = filled(FLIGHTS).await;
    let statements = FLIGHTS.statements();
    let all = workload(statements.iter().map(|labelled| labelled.sql.as_str()));
    let report = advise(&url, &all, &options).await.unwrap();
    assert!(report.missing.len() >= 5, "{report:#?}");
    let on_bookings: Vec<&str> = report
        .missing
        .iter()
        .map(|a| a.index.as_str())
        .filter(|index| index.starts_with("bookings(passenger"))
        .collect();
    assert_eq!(on_bookings.len(), 1, "one index for all that ask by passenger: {on_bookings:?}");
    let left = "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'dbopt_candidate%'";
    for advice in &report.missing {
        cluster.primary().execute(&advice.create).await.unwrap();
    }
    cluster.primary().execute("ANALYZE").await.unwrap();
    assert_eq!(cluster.primary().query_text(left).await.unwrap().as_deref(), Some("0"));
    // The copy does not have them: they are compared where they are.
    for served in report.missing.iter().flat_map(|advice| &advice.serves) {
        let alone = advise(&url, &workload([served.sql.as_str()]), &Options::default()).await.unwrap();
        assert!(alone.missing.is_empty(), "{} is served: {:#?}", served.sql, alone.missing);
        assert!(served.after.unwrap() <= served.before * 0.7);
    }
    for advice in &report.missing {
        cluster.primary().execute(&advice.drop).await.unwrap();
    }
}

#[tokio::test]
async fn r01_3_advice_says_who_proved_it_and_what_could_not_be_seen() {
    let (cluster, url, options) = filled(FLIGHTS).await;
    let bare = Options::default();
    // Without any extension and without a copy.
    let report = advised(&url, OF_PASSENGER, &bare).await;
    let [advice] = report.missing.as_slice() else { panic!("{report:#?}") };
    assert_eq!(advice.index, "bookings(passenger)");
    assert_eq!(advice.create, "CREATE INDEX CONCURRENTLY bookings_passenger_idx ON bookings (passenger)");
    assert!(matches!(&advice.verified, Verified::Nobody(why) if why.contains("HypoPG")), "{:?}", advice.verified);
    assert_eq!(advice.serves[0].after, None);
    assert!(advised(&url, "SELECT id FROM flights WHERE status = $1", &bare).await.missing.is_empty());
    // The database itself is no copy of itself.
    let itself = Options { scratch: Some(url.clone()), ..Options::default() };
    let refused = advise(&url, &workload([OF_PASSENGER]), &itself).await.unwrap_err();
    assert!(refused.to_string().contains("is the database itself"), "{refused}");
    // What is written all the time is not worth it, and what is run hardly ever is not looked at.
    let mut rare = workload([OF_PASSENGER]);
    (rare.seconds, rare.statements[0].calls) = (86_400.0, 20.0);
    let report = advise(&url, &rare, &options).await.unwrap();
    assert!(
        report.missing.is_empty() && report.rejected.iter().any(|r| r.why.contains("it would save")),
        "{report:#?}"
    );
    rare.statements[0].calls = 9.0;
    assert_eq!(advise(&url, &rare, &options).await.unwrap().statements, 0);
    // What cannot be explained is told, and no value of it.
    let odd = [
        "SELECT 1; SELECT 2",
        "SELECT 'Sentinel1Value",
        "SELECT nothing FROM nowhere WHERE a = 'Sentinel1Value'",
        "SET a = 1",
        "SELECT id FROM bookings WHERE passenger = 'Sentinel1Value' AND seat > 47110815",
    ];
    let report = advise(&url, &workload(odd), &options).await.unwrap();
    assert_eq!((report.skipped.len(), report.missing.len()), (4, 1), "{report:#?}");
    let told = format!("{report:?}{}", serde_json::to_string(&report).unwrap());
    assert!(!told.contains("Sentinel1Value") && !told.contains("47110815"), "{told}");
    // A user who may read nothing.
    cluster.primary().execute("CREATE ROLE stranger LOGIN").await.unwrap();
    let user = cluster.primary().query_text("SELECT current_user::text").await.unwrap().unwrap();
    let theirs = url.replacen(&format!("{user}@"), "stranger@", 1).replacen(&format!("//{user}:"), "//stranger:", 1);
    assert_ne!(theirs, url, "the URL names {user}");
    let report = advised(&theirs, OF_PASSENGER, &bare).await;
    assert!(report.skipped[0].why.contains("may not read its tables"), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("cannot be read by this user")), "{:?}", report.notes);
}

#[derive(Clone)]
struct Bookings {
    db: Db,
}

mod tables {
    diesel::table! { bookings (id) { id -> BigInt, flight_id -> BigInt, seat -> Integer, passenger -> Text, } }
}

use tables::bookings;

#[repository]
impl Bookings {
    #[read]
    async fn of(&self, conn: &mut Conn, passenger: &str) -> QueryResult<Vec<i64>> {
        bookings::table.filter(bookings::passenger.eq(passenger)).select(bookings::id).limit(20).load(conn).await
    }
}

#[tokio::test]
async fn r01_3_an_application_is_told_which_of_its_methods_miss_an_index() {
    let (cluster, _, options) = filled(FLIGHTS).await;
    let calls = Bookings { db: dbopt_tests::connect(dbopt_tests::config(&cluster)).await };
    for n in 0..20 {
        calls.of(&format!("Sentinel1Value {n}")).await.unwrap();
    }
    let seconds = calls.db.status().insight.counted_seconds;
    let advising = Workload { seconds: 0.0, ..Workload::of_insight(&calls.db.status().insight) };
    assert!(seconds < 3600 && advising.statements.iter().any(|s| s.calls == 20.0), "{advising:#?}");
    let report = calls.db.advise(&options).await.unwrap();
    // Twenty calls do not pay for 200,000 new rows in half a minute; without the time nobody can tell.
    assert!(report.missing.iter().all(|advice| advice.index == "bookings(passenger)"), "{report:#?}");
    let report = advise(&cluster.primary().url(), &advising, &options).await.unwrap();
    let served = &report.missing[0].serves[0];
    assert_eq!((report.missing[0].index.as_str(), served.calls), ("bookings(passenger)", 20.0));
    assert_eq!(served.places[0].method, "Bookings::of");
    assert!(served.places[0].at.as_ref().unwrap().contains("r01_indexes.rs:"), "{served:?}");
    assert!(!format!("{report:?}").contains("Sentinel1Value"));
}

/// Bookings alone, without an index for passengers.
async fn bookings_alone() -> Cluster {
    let cluster = dbopt_tests::cluster(0).await;
    let table = "CREATE TABLE bookings (id bigint PRIMARY KEY, flight_id bigint NOT NULL, seat int NOT NULL, passenger text NOT NULL); \
                 INSERT INTO bookings SELECT n, n / 200, n % 200, 'passenger ' || n FROM generate_series(1, 60000) AS n; ANALYZE bookings";
    cluster.primary().execute(table).await.unwrap();
    cluster
}

/// What is done every six hours without anybody asking: the same look, kept for the status, the metrics and the page.
#[tokio::test]
async fn r01_3_an_instance_looks_by_itself_and_shows_what_it_found() {
    let cluster = bookings_alone().await;
    let calls = Bookings { db: dbopt_tests::connect(dbopt_tests::config(&cluster)).await };
    let advice = || calls.db.status().insight.indexes;
    assert_eq!((advice().absent.as_deref(), advice().report.is_none()), (Some("not looked yet"), true));
    until("it is known when", Duration::from_secs(10), async || advice().next_seconds.is_some_and(|next| next < 400.0))
        .await;
    for n in 0..20 {
        calls.of(&format!("Sentinel1Value {n}")).await.unwrap();
    }
    cluster.primary().execute("CREATE INDEX twice ON bookings (id)").await.unwrap();
    calls.db.runtime().advise_indexes().await.unwrap();
    let report = advice().report.unwrap();
    let [missing] = report.missing.as_slice() else { panic!("{report:#?}") };
    assert_eq!((missing.index.as_str(), missing.verified.is_verified()), ("bookings(passenger)", false));
    assert_eq!(missing.serves[0].places[0].method, "Bookings::of");
    assert!(report.unneeded.iter().any(|index| index.name == "twice"), "{:?}", report.unneeded);
    let metrics = calls.db.runtime().metrics();
    for line in [
        r#"dbopt_index_advice{kind="unverified"} 1"#,
        r#"dbopt_index_advice{kind="covered"} 1"#,
        r#"kind="missing"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let told = serde_json::to_value(calls.db.status()).unwrap()["insight"]["indexes"].to_string();
    assert!(
        told.contains("CREATE INDEX CONCURRENTLY bookings_passenger_idx") && !told.contains("Sentinel1Value"),
        "{told}"
    );
    let left = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'dbopt advise'";
    until("its session is gone", Duration::from_secs(10), async || {
        cluster.primary().query_text(left).await.unwrap().as_deref() == Some("0")
    })
    .await;
    // Without a primary there is no news, and what was known stays.
    cluster.primary().kill().await.unwrap();
    until("it fails", Duration::from_secs(60), async || calls.db.runtime().advise_indexes().await.is_err()).await;
    assert!(
        advice().report.is_some() && advice().absent.is_some_and(|why| !why.contains("://")),
        "{:?}",
        advice().absent
    );
}

/// A user who may see little is told what could not be seen.
#[tokio::test]
async fn r01_3_a_user_without_rights_is_told_what_was_not_seen() {
    let cluster = bookings_alone().await;
    let user = cluster.primary().query_text("SELECT current_user::text").await.unwrap().unwrap();
    cluster.primary().execute("CREATE ROLE clerk LOGIN; GRANT SELECT ON bookings TO clerk").await.unwrap();
    let url = cluster.primary().url().replacen(&format!("//{user}"), "//clerk", 1);
    let calls = Bookings { db: dbopt_tests::connect(dbopt_tests::named([("primary", url)])).await };
    for n in 0..20 {
        calls.of(&format!("{n}")).await.unwrap();
    }
    calls.db.runtime().advise_indexes().await.unwrap();
    let report = calls.db.status().insight.indexes.report.unwrap();
    assert_eq!(report.missing[0].index, "bookings(passenger)", "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("cannot be read by this user")), "{:?}", report.notes);
}

#[tokio::test]
async fn r01_3_foreign_keys_and_indexes_that_are_not_needed() {
    let (cluster, url, options) = filled(SHOP).await;
    let primary = cluster.primary();
    primary.execute("CREATE INDEX twice ON orders (tenant_id)").await.unwrap();
    primary.execute("DELETE FROM order_items WHERE order_id < 100").await.unwrap();
    primary.execute("DELETE FROM orders WHERE id < 40").await.unwrap();
    let counted = "SELECT (n_tup_del > 10)::text FROM pg_stat_user_tables WHERE relname = 'orders'";
    let seen = async || primary.query_text(counted).await.unwrap().as_deref() == Some("true");
    until("the deletes are counted", Duration::from_secs(20), seen).await;
    let report = advise(&url, &Workload::default(), &options).await.unwrap();
    let found: Vec<&str> = report.missing.iter().map(|advice| advice.index.as_str()).collect();
    assert_eq!(found, ["order_items(order_id)"], "{report:#?}");
    assert!(report.missing[0].serves[0].places[0].method.contains("each DELETE from orders"));
    assert!(
        report.unneeded.iter().any(|index| index.name == "twice" && index.kind == "covered"),
        "{:?}",
        report.unneeded
    );
}

#[tokio::test]
#[ignore = "needs HypoPG on this machine (Debian: postgresql-15-hypopg)"]
async fn r01_3_with_hypopg_nothing_is_built_and_the_answer_is_the_same() {
    let (cluster, url, options) = filled(FLIGHTS).await;
    cluster.primary().execute("CREATE EXTENSION hypopg").await.unwrap();
    let mut others = Vec::new();
    for labelled in FLIGHTS.statements() {
        let report = advise(&url, &labelled.alone(), &Options::default()).await.unwrap();
        assert!(
            report.missing.iter().all(|advice| advice.verified == Verified::Hypopg && advice.size_bytes > 0),
            "{report:#?}"
        );
        let made_up: Vec<String> = report.missing.into_iter().map(|advice| advice.index).collect();
        let built = advise(&url, &labelled.alone(), &options).await.unwrap();
        let built: Vec<String> = built.missing.into_iter().map(|advice| advice.index).collect();
        if made_up != built {
            others.push(format!("{}: {made_up:?} or {built:?}", labelled.sql));
        }
    }
    println!("{} of {} differ: {others:#?}", others.len(), FLIGHTS.statements().len());
    assert!(others.len() <= 3, "{others:#?}");
}
