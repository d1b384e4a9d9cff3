//! R8: migrations are tried on staging before production.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use dbopt_diesel::Db;
use dbopt_diesel::core::schema::Environment;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::migrate::{Error, Forward, Statements, Trial};
use dbopt_tests::Things;
use dbopt_tests::migrations::{Folder, server, value};

const FIRST: (&str, &str, &str) = (
    "1_users",
    "CREATE TABLE users (id int PRIMARY KEY, name text);\nINSERT INTO users SELECT i FROM generate_series(1, 100) AS i;",
    "DROP TABLE users;",
);

#[tokio::test]
async fn r08_4_production_applies_only_what_a_fresh_receipt_is_there_for() {
    let (cluster, mut config) = server().await;
    let folder = Folder::of(&[FIRST]);
    let receipt = folder.path().join("receipt.json");
    config.schema.receipt = receipt.to_string_lossy().into_owned();
    config.schema.environment = Environment::Production;
    let refused = async |config: &_, part: &str| {
        let error = folder.migrator(config).up(&Forward::default()).await.unwrap_err();
        assert!(matches!(error, Error::Receipt(_)) && error.to_string().contains(part), "{error}");
    };
    refused(&config, "dbopt migrate validate").await;
    let validation = folder.migrator(&config).validate(&Trial::default()).await.unwrap();
    assert_eq!((validation.problems.as_slice(), validation.tried.len()), ([].as_slice(), 1));
    let made = validation.receipt.unwrap();
    fs::write(&receipt, serde_json::to_string(&made).unwrap()).unwrap();
    // Edited after it was validated; then too old.
    folder.add("1_users", &format!("{} SELECT 2;", FIRST.1), FIRST.2);
    refused(&config, "edited after it was validated").await;
    folder.add(FIRST.0, FIRST.1, FIRST.2);
    let mut late = config.clone();
    let mut old = made.clone();
    old.made_at -= 7200;
    old = dbopt_diesel::core::schema::receipt::Receipt::new(folder.read().list(), old.server_major, old.made_at);
    fs::write(&receipt, serde_json::to_string(&old).unwrap()).unwrap();
    late.schema.receipt_age = Duration::from_secs(3600);
    refused(&late, "2 h old").await;
    fs::write(&receipt, serde_json::to_string(&made).unwrap()).unwrap();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(value(&cluster, "SELECT receipt FROM __dbopt_schema_history").await, made.id);
}

#[tokio::test]
async fn r08_4_a_validation_finds_ways_back_that_do_not_lead_back_and_statements_that_break() {
    let (cluster, config) = server().await;
    let folder = Folder::of(&[FIRST]);
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add("2_none", "CREATE TABLE other (id int);", "");
    folder.add(
        "3_rename",
        "-- dbopt: allow(rename) to see what breaks\nALTER TABLE users RENAME COLUMN name TO full_name;",
        "ALTER TABLE users RENAME COLUMN full_name TO name;",
    );
    folder.add(
        "4_mail",
        "ALTER TABLE users ADD COLUMN mail text; ALTER TABLE users ADD COLUMN age int;",
        "ALTER TABLE users DROP COLUMN mail;",
    );
    let statements =
        "SELECT name FROM users WHERE id = $1; SELECT * FROM users; SELECT id FROM users; SELECT nonsense FROM nothing";
    let trial = Trial { statements: Statements::from_text(statements).unwrap(), ..Trial::default() };
    let validation = folder.migrator(&config).validate(&trial).await.unwrap();
    let problems = validation.problems.join("\n");
    for part in [
        "after 4_mail/down.sql: column public.users.age is left over",
        "after 4_mail/down.sql it cannot go forward again",
        "3_rename: a statement of the application gives (id int4, full_name text) from () instead",
        "2_none: there is no way back",
        "3_rename: a statement of the application fails: column \"name\" does not exist",
    ] {
        assert!(problems.contains(part), "{part} in\n{problems}");
    }
    assert!(!problems.contains("nonsense") && !problems.contains("SELECT id FROM users"), "{problems}");
    assert!(validation.receipt.is_none());
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'dbopt_scratch%'").await,
        "0"
    );
    assert_eq!(value(&cluster, "SELECT count(*)::text FROM users").await, "100", "the real one was not touched");
}

#[tokio::test]
async fn r08_4_the_lock_trace_tells_who_is_kept_out_and_what_is_written_anew() {
    let (cluster, config) = server().await;
    let folder = Folder::of(&[FIRST]);
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    cluster.primary().execute("ANALYZE users").await.unwrap();
    folder.add(
        "2_changes",
        "CREATE INDEX users_name ON users (name);\nALTER TABLE users ALTER COLUMN id TYPE bigint;\nCREATE TABLE beside (id int);",
        "ALTER TABLE users ALTER COLUMN id TYPE int; DROP INDEX users_name; DROP TABLE beside;",
    );
    let validation = folder.migrator(&config).validate(&Trial::default()).await.unwrap();
    let [index, kind, beside] = validation.trace.as_slice() else { panic!("{:?}", validation.trace) };
    assert!(index.blocks_writes && !index.blocks_reads && index.rewritten.is_empty(), "{index:?}");
    assert!(kind.blocks_reads && kind.rewritten == ["users"] && kind.line == 2, "{kind:?}");
    assert!(beside.locks.is_empty(), "{beside:?}");
    assert_eq!(validation.rows["users"], 100);
    let rules: Vec<&str> = validation.findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(rules, ["index-concurrently", "change-type"]);
    assert!(validation.receipt.is_none(), "what the lint says counts");
}

#[tokio::test]
async fn r08_4_a_scratch_database_may_be_on_another_server() {
    let (cluster, config) = server().await;
    let (staging, _) = server().await;
    let folder = Folder::of(&[FIRST]);
    let trial = Trial { staging: Some(staging.primary().url()), ..Trial::default() };
    let validation = folder.migrator(&config).validate(&trial).await.unwrap();
    assert!(validation.receipt.is_some());
    let made = "SELECT count(*)::text FROM pg_stat_database WHERE datname LIKE 'dbopt_scratch%'";
    assert_eq!((value(&cluster, made).await, value(&staging, made).await), ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn r08_4_what_the_application_ran_in_its_tests_or_in_production_meets_the_new_schema() {
    let counting =
        Cluster::builder().replicas(0).redis(false).setting("shared_preload_libraries", "pg_stat_statements");
    let cluster = counting.start().await.unwrap();
    let config = dbopt_tests::config(&cluster);
    let folder = Folder::of(&[("1_things", dbopt_tests::things::SCHEMA, "DROP TABLE things;")]);
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    cluster.primary().execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    let gathered = Statements::default();
    let things = Things { db: Db::connect_watched(config.clone(), gathered.clone()).await.unwrap() };
    things.set(1, 2).await.unwrap();
    let file = folder.path().join("statements.sql");
    gathered.save(&file).unwrap();
    let kept = Statements::load(&file).unwrap();
    assert!(!kept.is_empty() && kept.len() <= gathered.len(), "{kept:?}");
    folder.add(
        "2_rename",
        "-- dbopt: allow(rename) to see what breaks\nALTER TABLE things RENAME COLUMN value TO number;",
        "ALTER TABLE things RENAME COLUMN number TO value;",
    );
    let of_tests = Trial { statements: kept, ..Trial::default() };
    let of_server = Trial { counted_statements: true, ..Trial::default() };
    for trial in [of_tests, of_server] {
        let validation = folder.migrator(&config).validate(&trial).await.unwrap();
        let problems = validation.problems.join("\n");
        assert!(problems.contains("2_rename: a statement of the application fails: column \"value\""), "{problems}");
        assert!(validation.receipt.is_none() && validation.statements > 0, "{validation:?}");
    }
}
