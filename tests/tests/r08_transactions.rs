//! R8: all of a migration or nothing, whatever happens to it, and each once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbopt_diesel::core::schema::history::Outcome;
use dbopt_diesel::core::schema::plan::State;
use dbopt_diesel::migrate::{Back, Error, Event, Forward, Migrator};
use dbopt_tests::migrations::{Folder, migrated, server, tables, two, value, versions};
use dbopt_tests::until;
use futures_util::future::join_all;

#[tokio::test]
async fn r08_2_eight_instances_that_start_at_once_apply_each_migration_once_with_an_index_built_beside() {
    let (cluster, mut config) = server().await;
    config.schema.wait = Duration::from_secs(60);
    let folder = two();
    folder.add_alone(
        "2026-01-03-000000_index",
        "CREATE INDEX CONCURRENTLY a_id ON a (id);",
        "DROP INDEX CONCURRENTLY a_id;",
    );
    folder.add("2026-01-04-000000_more", "INSERT INTO a SELECT 2 FROM pg_sleep(0.2);", "DELETE FROM a WHERE id = 2;");
    let starting = (0..8).map(async |_| folder.migrator(&config).up(&Forward::default()).await.unwrap().ran.len());
    assert_eq!(join_all(starting).await.iter().sum::<usize>(), 4);
    assert_eq!(value(&cluster, "SELECT count(*)::text || sum(id) FROM a").await, "23");
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM __dbopt_schema_history WHERE outcome = 'applied'").await,
        "4"
    );
    assert_eq!(
        value(&cluster, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'a_id'::regclass").await,
        "true"
    );
}

#[tokio::test]
async fn r08_2_a_statement_that_cannot_run_in_a_transaction_must_be_declared_and_alone() {
    let folder = two();
    folder.add("2026-01-03-000000_index", "CREATE INDEX CONCURRENTLY a_id ON a (id);", "");
    let refused =
        |folder: &Folder| dbopt_diesel::migrate::Migrations::from_folder(folder.path()).unwrap_err().to_string();
    assert!(refused(&folder).contains("up.sql line 1") && refused(&folder).contains("run_in_transaction = false"));
    folder.add_alone("2026-01-03-000000_index", "SELECT 1;\nCREATE INDEX CONCURRENTLY a_id ON a (id);", "");
    assert!(refused(&folder).contains("line 2") && refused(&folder).contains("a migration of its own"));
}

#[tokio::test]
async fn r08_3_a_failure_leaves_nothing_and_says_the_statement_and_the_line() {
    let (cluster, config) = server().await;
    let folder = two();
    folder.add(
        "2026-01-03-000000_c",
        "-- three of them\nCREATE TABLE c (id int);\nALTER TABLE a ADD COLUMN x int;\n\nINSERT INTO c\n  SELECT id,\n    nonsense FROM a;\n",
        "",
    );
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err();
    let text = error.to_string();
    let Error::Failed(failure) = error else { panic!("{text}") };
    assert_eq!((failure.line, failure.statement, failure.sqlstate.as_deref()), (7, (3, 3), Some("42703")));
    assert!(
        text.contains("2026-01-03-000000_c/up.sql line 7: statement 3 of 3 failed") && text.contains("rolled back"),
        "{text}"
    );
    assert_eq!(tables(cluster.primary()).await, "a,b");
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM information_schema.columns WHERE table_name = 'a'").await,
        "1"
    );
    assert_eq!(versions(cluster.primary()).await, "20260101000000,20260102000000");
    let status = folder.migrator(&config).status().await.unwrap();
    let last = status.history.last().unwrap();
    assert_eq!(last.outcome, Outcome::Failed);
    assert!(last.error.as_deref().unwrap().contains("line 7"));
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "");
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
}

#[tokio::test]
async fn r08_3_a_user_without_rights_is_told_which_are_missing() {
    let (cluster, _) = server().await;
    cluster.primary().execute("CREATE ROLE app LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
    let config = dbopt_tests::named([("primary", cluster.primary().url().replace("postgres@", "app@"))]);
    let error = two().migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("permission denied") && error.contains("grant this user CREATE"), "{error}");
}

#[tokio::test]
async fn r08_3_a_migration_that_gets_no_lock_lets_others_through_and_tries_again() {
    let (cluster, mut config, folder) = migrated().await;
    config.schema.lock_timeout = Duration::from_millis(100);
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);\nALTER TABLE a ADD COLUMN x int;", "");
    let (reader, driver) = tokio_postgres::connect(&cluster.primary().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    reader.batch_execute("BEGIN; SELECT * FROM a").await.unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = refused.clone();
    let migrator = folder.migrator(&config).watched(move |event| {
        if matches!(event, Event::NoLock { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    until("it has given way twice", Duration::from_secs(30), async || refused.load(Ordering::Relaxed) >= 2).await;
    assert_eq!(tables(cluster.primary()).await, "a,b", "between two attempts nothing is left");
    reader.batch_execute("COMMIT").await.unwrap();
    migrating.await.unwrap().unwrap();
    assert_eq!(tables(cluster.primary()).await, "a,b,c");
}

#[tokio::test]
async fn r08_3_a_migration_that_never_gets_its_lock_gives_up_with_nothing_done() {
    let (cluster, mut config, folder) = migrated().await;
    (config.schema.lock_timeout, config.schema.lock_attempts) = (Duration::from_millis(50), 2);
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);\nALTER TABLE a ADD COLUMN x int;", "");
    let (reader, driver) = tokio_postgres::connect(&cluster.primary().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    reader.batch_execute("BEGIN; SELECT * FROM a").await.unwrap();
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("55P03"), "{error}");
    assert_eq!(tables(cluster.primary()).await, "a,b");
}

#[tokio::test]
async fn r08_3_an_index_that_failed_or_was_cut_off_is_cleaned_up_and_built() {
    let (cluster, config) = server().await;
    let folder = Folder::of(&[("1_a", "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (1);", "DROP TABLE a;")]);
    folder.add_alone(
        "2_index",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);",
        "DROP INDEX CONCURRENTLY a_id;",
    );
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("23505"), "{error}");
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM pg_class WHERE relname = 'a_id'").await,
        "0",
        "nothing is left"
    );
    // As a killed migrator leaves it: begun, and an invalid index.
    let primary = cluster.primary();
    let begun = "INSERT INTO __dbopt_schema_history (version, name, direction, outcome, up_checksum, up_sql, run_by, server) \
                 VALUES ('2', '2_index', 'up', 'started', 'x', 'x', 'x', 'x')";
    primary.execute(begun).await.unwrap();
    let (builder, driver) = tokio_postgres::connect(&primary.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    builder.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id)").await.unwrap_err();
    assert_eq!(
        value(&cluster, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'a_id'::regclass").await,
        "false"
    );
    primary.execute("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)").await.unwrap();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(
        value(&cluster, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'a_id'::regclass").await,
        "true"
    );
    assert_eq!(versions(cluster.primary()).await, "1,2");
    // Finished, but not written down.
    primary.execute("DELETE FROM __diesel_schema_migrations WHERE version = '2'").await.unwrap();
    primary.execute(begun).await.unwrap();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(versions(cluster.primary()).await, "1,2");
}

#[tokio::test]
async fn r08_3_a_migrator_that_is_killed_leaves_a_version_boundary() {
    let (cluster, config) = server().await;
    let folder = two();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int); SELECT pg_sleep(60);", "DROP TABLE c;");
    let migrator: Migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    let sleeping = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'dbopt migrate' AND query LIKE 'SELECT pg_sleep%'";
    until("it sleeps", Duration::from_secs(30), async || !value(&cluster, sleeping).await.is_empty()).await;
    let pid = value(&cluster, sleeping).await;
    value(&cluster, &format!("SELECT pg_terminate_backend({pid})::text")).await;
    let error = migrating.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("2026-01-03-000000_c/up.sql"), "{error}");
    assert_eq!(
        (tables(cluster.primary()).await.as_str(), versions(cluster.primary()).await.as_str()),
        ("a,b", "20260101000000,20260102000000")
    );
    // Dropped by its caller instead: the server stops, and the lock comes free.
    let migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    until("it sleeps", Duration::from_secs(30), async || !value(&cluster, sleeping).await.is_empty()).await;
    migrating.abort();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(tables(cluster.primary()).await, "a,b,c");
}

#[tokio::test]
async fn r08_3_a_way_back_that_was_cut_off_is_told_and_gone_on_with() {
    let (cluster, config, folder) = migrated().await;
    folder.add_alone(
        "2026-01-03-000000_index",
        "CREATE INDEX CONCURRENTLY a_id ON a (id);",
        "DROP INDEX CONCURRENTLY a_id;",
    );
    let migrator = folder.migrator(&config);
    migrator.up(&Forward::default()).await.unwrap();
    // As a killed migrator leaves it: begun, and the index is gone.
    let begun = "INSERT INTO __dbopt_schema_history (version, name, direction, outcome, up_checksum, up_sql, run_by, server) \
                 VALUES ('20260103000000', 'index', 'down', 'started', 'x', 'x', 'x', 'x'); DROP INDEX a_id";
    cluster.primary().execute(begun).await.unwrap();
    assert_eq!(migrator.status().await.unwrap().plan.lines[2].state, State::HalfBack);
    let error = migrator.up(&Forward::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }) && error.to_string().contains("migrate down"), "{error}");
    assert_eq!(migrator.down(&Back::default()).await.unwrap().ran.len(), 1);
    assert_eq!(versions(cluster.primary()).await, "20260101000000,20260102000000");
    migrator.up(&Forward::default()).await.unwrap();
    assert!(migrator.status().await.unwrap().plan.is_settled());
}

#[tokio::test]
async fn r08_1_a_migration_whose_line_of_the_history_cannot_be_written_is_not_applied() {
    let (cluster, config, folder) = migrated().await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no line'; END $$; \
                  CREATE TRIGGER refuse BEFORE INSERT ON __dbopt_schema_history FOR EACH ROW EXECUTE FUNCTION refuse()";
    cluster.primary().execute(refuse).await.unwrap();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("write the history") && error.contains("no line"), "{error}");
    assert_eq!(tables(cluster.primary()).await, "a,b");
    assert_eq!(versions(cluster.primary()).await, "20260101000000,20260102000000");
}

#[tokio::test]
async fn r08_3_a_commit_that_is_refused_leaves_nothing_and_says_where() {
    let (cluster, config, folder) = migrated().await;
    let late = "CREATE TABLE c (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO c VALUES (99);";
    folder.add("2026-01-03-000000_c", late, "DROP TABLE c;");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err();
    assert!(matches!(error, Error::Failed(_)) && error.to_string().contains("23503"), "{error}");
    assert_eq!(
        (tables(cluster.primary()).await.as_str(), versions(cluster.primary()).await.as_str()),
        ("a,b", "20260101000000,20260102000000")
    );
    let applied = "SELECT count(*)::text FROM __dbopt_schema_history WHERE outcome = 'applied'";
    assert_eq!(value(&cluster, applied).await, "2");
}

/// As behind a pooler that gives the next transaction another session.
#[tokio::test]
async fn r08_2_a_lock_that_is_gone_is_noticed_before_the_next_migration() {
    let (cluster, config, folder) = migrated().await;
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int); SELECT pg_advisory_unlock_all();", "DROP TABLE c;");
    folder.add("2026-01-04-000000_d", "CREATE TABLE d (id int);", "DROP TABLE d;");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err();
    assert!(matches!(error, Error::Pooler), "{error}");
    assert_eq!(tables(cluster.primary()).await, "a,b,c");
}
