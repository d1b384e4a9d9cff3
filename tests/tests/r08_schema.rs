//! R8: migrations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dbopt_diesel::core::schema::history::Outcome;
use dbopt_diesel::core::schema::plan::State;
use dbopt_diesel::migrate::{Back, Error, Event, Forward, Migrator};
use dbopt_tests::migrations::{Folder, server, value};
use dbopt_tests::until;
use futures_util::future::join_all;

fn two() -> Folder {
    Folder::of(&[
        ("2026-01-01-000000_a", "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);", "DROP TABLE a;"),
        ("2026-01-02-000000_b", "CREATE TABLE b (id int);", "DROP TABLE b;"),
    ])
}

async fn tables(cluster: &dbopt_diesel::dev::Cluster) -> String {
    let sql = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
               AND relname NOT LIKE '\\_\\_%'";
    value(cluster, sql).await
}

async fn versions(cluster: &dbopt_diesel::dev::Cluster) -> String {
    value(cluster, "SELECT string_agg(version, ',' ORDER BY version) FROM __diesel_schema_migrations").await
}

#[tokio::test]
async fn r08_1_every_script_is_in_the_history_with_who_when_where_and_its_checksums() {
    let (cluster, config) = server().await;
    let folder = two();
    let migrator = folder.migrator(&config);
    let report = migrator.up(&Forward::default()).await.unwrap();
    assert_eq!(
        report.ran.iter().map(|ran| ran.version.as_str()).collect::<Vec<_>>(),
        ["20260101000000", "20260102000000"]
    );
    migrator.down(&Back { accept_data_loss: true, ..Back::default() }).await.unwrap();
    let status = migrator.status().await.unwrap();
    let told: Vec<_> = status.history.iter().map(|e| (e.version.as_str(), e.direction.as_str(), e.outcome)).collect();
    assert_eq!(
        told,
        [
            ("20260101000000", "up", Outcome::Applied),
            ("20260102000000", "up", Outcome::Applied),
            ("20260102000000", "down", Outcome::Reverted)
        ]
    );
    let first = &status.history[0];
    assert!(
        first.by.starts_with("postgres (") && first.server.contains("PostgreSQL ") && first.at.ends_with("UTC"),
        "{first:?}"
    );
    assert_eq!((first.up_checksum.len(), first.down_checksum.as_ref().map(String::len)), (64, Some(64)));
    assert_eq!(status.plan.lines[1].state, State::Pending);
    assert_eq!(versions(&cluster).await, "20260101000000");
}

#[tokio::test]
async fn r08_1_an_edited_or_missing_migration_is_refused_with_the_difference() {
    let (cluster, config) = server().await;
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add(
        "2026-01-01-000000_a",
        "CREATE TABLE a (id bigint PRIMARY KEY);\nINSERT INTO a VALUES (1);",
        "DROP TABLE a;",
    );
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    for part in [
        "2026-01-01-000000_a/up.sql: edited",
        "-CREATE TABLE a (id int",
        "+CREATE TABLE a (id bigint",
        "--accept-drift",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(tables(&cluster).await, "a,b", "nothing was run");
    folder.remove("2026-01-01-000000_a");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("2026-01-01-000000_a: missing") && error.contains("-CREATE TABLE a (id int"), "{error}");
    let accept = Forward { accept_drift: vec!["20260101000000".into()], ..Forward::default() };
    folder.migrator(&config).up(&accept).await.unwrap();
    assert_eq!(tables(&cluster).await, "a,b,c");
}

#[tokio::test]
async fn r08_1_an_edit_that_was_accepted_is_told_no_more() {
    let (_cluster, config) = server().await;
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add("2026-01-02-000000_b", "CREATE TABLE b (id int); -- numbers", "DROP TABLE b;");
    let accept = Forward { accept_drift: vec!["20260102000000".into()], ..Forward::default() };
    folder.migrator(&config).up(&accept).await.unwrap();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(folder.migrator(&config).status().await.unwrap().history.last().unwrap().outcome, Outcome::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_1_what_diesel_applied_is_taken_into_the_history_and_diesel_agrees_with_ours() {
    use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection};
    use diesel_migrations::{FileBasedMigrations, MigrationHarness};
    let (cluster, config) = server().await;
    let folder = two();
    let source = || FileBasedMigrations::from_path(folder.path()).unwrap();
    let conn = AsyncPgConnection::establish(&cluster.primary().url()).await.unwrap();
    let mut harness = AsyncMigrationHarness::new(conn);
    harness.run_next_migration(source()).unwrap();
    let migrator = folder.migrator(&config);
    let states: Vec<State> = migrator.status().await.unwrap().plan.lines.iter().map(|line| line.state).collect();
    assert_eq!(states, [State::Applied, State::Pending]);
    migrator.up(&Forward::default()).await.unwrap();
    let outcomes: Vec<Outcome> = migrator.status().await.unwrap().history.iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, [Outcome::Adopted, Outcome::Applied]);
    assert!(!harness.has_pending_migration(source()).unwrap());
    harness.revert_last_migration(source()).unwrap();
    assert_eq!(migrator.status().await.unwrap().plan.lines[1].state, State::Pending);
}

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
    assert_eq!(tables(&cluster).await, "a,b");
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM information_schema.columns WHERE table_name = 'a'").await,
        "1"
    );
    assert_eq!(versions(&cluster).await, "20260101000000,20260102000000");
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
    let (cluster, mut config) = server().await;
    config.schema.lock_timeout = Duration::from_millis(100);
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
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
    assert_eq!(tables(&cluster).await, "a,b", "between two attempts nothing is left");
    reader.batch_execute("COMMIT").await.unwrap();
    migrating.await.unwrap().unwrap();
    assert_eq!(tables(&cluster).await, "a,b,c");
}

#[tokio::test]
async fn r08_3_a_migration_that_never_gets_its_lock_gives_up_with_nothing_done() {
    let (cluster, mut config) = server().await;
    (config.schema.lock_timeout, config.schema.lock_attempts) = (Duration::from_millis(50), 2);
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);\nALTER TABLE a ADD COLUMN x int;", "");
    let (reader, driver) = tokio_postgres::connect(&cluster.primary().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    reader.batch_execute("BEGIN; SELECT * FROM a").await.unwrap();
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("55P03"), "{error}");
    assert_eq!(tables(&cluster).await, "a,b");
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
    assert_eq!(versions(&cluster).await, "1,2");
    // Finished, but not written down.
    primary.execute("DELETE FROM __diesel_schema_migrations WHERE version = '2'").await.unwrap();
    primary.execute(begun).await.unwrap();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(versions(&cluster).await, "1,2");
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
        (tables(&cluster).await.as_str(), versions(&cluster).await.as_str()),
        ("a,b", "20260101000000,20260102000000")
    );
    // Dropped by its caller instead: the server stops, and the lock comes free.
    let migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    until("it sleeps", Duration::from_secs(30), async || !value(&cluster, sleeping).await.is_empty()).await;
    migrating.abort();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert_eq!(tables(&cluster).await, "a,b,c");
}

mod names {
    use dbopt_diesel::prelude::*;
    use diesel::prelude::*;
    use diesel_async::RunQueryDsl;

    diesel::table! { names (id) { id -> Integer, name -> Text, } }

    pub(crate) struct Names {
        pub(crate) db: Db,
    }

    #[repository]
    impl Names {
        #[read]
        pub(crate) async fn name(&self, conn: &mut Conn, id: i32) -> QueryResult<String> {
            names::table.find(id).select(names::name).first(conn).await
        }

        /// Keeps its connection for a moment.
        #[read]
        pub(crate) async fn slow_name(&self, conn: &mut Conn, id: i32) -> QueryResult<String> {
            diesel::sql_query("SELECT pg_sleep(0.3)").execute(conn).await?;
            names::table.find(id).select(names::name).first(conn).await
        }
    }
}

#[tokio::test]
async fn r08_2_pooled_connections_are_renewed_and_those_of_other_instances_fail_once_at_most() {
    let (cluster, mut config) = server().await;
    (config.pool.min, config.pool.max) = (3, 6);
    let schema = "CREATE TABLE names (id int PRIMARY KEY, name varchar(20)); INSERT INTO names VALUES (1, 'Ann')";
    cluster.primary().execute(schema).await.unwrap();
    let (one, other) = (dbopt_tests::connect(config.clone()).await, dbopt_tests::connect(config.clone()).await);
    let (one, other) = (names::Names { db: one }, names::Names { db: other });
    for names in [&one, &other] {
        // Several at once, so that several connections have it prepared.
        join_all((0..6).map(async |_| names.slow_name(1).await.unwrap())).await;
    }
    let folder = Folder::of(&[("1_text", "ALTER TABLE names ALTER COLUMN name TYPE text;", "")]);
    let report = one.db.migrate_with(folder.read(), &Forward::default()).await.unwrap();
    assert_eq!(report.ran.len(), 1);
    for _ in 0..30 {
        assert_eq!(one.name(1).await.unwrap(), "Ann", "the instance that migrated has new connections");
    }
    let mut failed = 0;
    for _ in 0..60 {
        failed += usize::from(other.name(1).await.is_err());
    }
    assert!((1..=6).contains(&failed), "each connection of the other one fails once: {failed}");
    for _ in 0..20 {
        assert_eq!(other.name(1).await.unwrap(), "Ann");
    }
}

#[tokio::test]
async fn r08_3_a_server_that_is_killed_in_the_middle_comes_back_at_a_version_boundary() {
    let (cluster, config) = server().await;
    let folder = two();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int); SELECT pg_sleep(60);", "DROP TABLE c;");
    let migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    let sleeping = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    until("it sleeps", Duration::from_secs(60), async || value(&cluster, sleeping).await == "1").await;
    cluster.primary().kill().await.unwrap();
    migrating.await.unwrap().unwrap_err();
    cluster.primary().start().await.unwrap();
    assert_eq!(
        (tables(&cluster).await.as_str(), versions(&cluster).await.as_str()),
        ("a,b", "20260101000000,20260102000000")
    );
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM __dbopt_schema_history WHERE outcome = 'applied'").await,
        "2"
    );
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
}

#[tokio::test]
async fn r08_3_after_a_failover_in_the_middle_the_new_primary_has_all_or_nothing_and_goes_on() {
    let cluster = dbopt_diesel::dev::Cluster::builder().replicas(1).redis(false).start().await.unwrap();
    let config = dbopt_tests::config(&cluster);
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int); SELECT pg_sleep(60);", "DROP TABLE c;");
    let migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    let sleeping = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    until("it sleeps", Duration::from_secs(60), async || value(&cluster, sleeping).await == "1").await;
    let replica = cluster.replica(1);
    cluster.primary().kill().await.unwrap();
    migrating.await.unwrap().unwrap_err();
    replica.query_text("SELECT pg_promote()::text").await.unwrap();
    let versions = "SELECT string_agg(version, ',' ORDER BY version) FROM __diesel_schema_migrations";
    assert_eq!(replica.query_text(versions).await.unwrap().unwrap(), "20260101000000,20260102000000");
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    let mut without_waiting = config.clone();
    without_waiting.schema.replica_wait = Duration::ZERO;
    let report = folder.migrator(&without_waiting).up(&Forward::default()).await.unwrap();
    assert!(report.ran.len() == 1 && report.server.contains(&replica.port().to_string()), "{report:?}");
}

#[tokio::test]
async fn r08_3_replicas_have_the_new_schema_when_the_command_returns() {
    let cluster = dbopt_diesel::dev::Cluster::builder().replicas(2).redis(false).start().await.unwrap();
    let mut config = dbopt_tests::config(&cluster);
    let folder = two();
    let report = folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert!(report.late_replicas.is_empty(), "{:?}", report.late_replicas);
    for node in cluster.nodes() {
        assert_eq!(node.query_text("SELECT count(*)::text FROM a").await.unwrap().unwrap(), "1", "{}", node.name());
    }
    let late = cluster.replica(1);
    late.pause_replay().await.unwrap();
    config.schema.replica_wait = Duration::from_millis(300);
    folder.add("2026-01-03-000000_c", "CREATE TABLE c (id int);", "DROP TABLE c;");
    let report = folder.migrator(&config).up(&Forward::default()).await.unwrap();
    assert!(
        report.late_replicas.len() == 1 && report.late_replicas[0].starts_with("replica-1: "),
        "{:?}",
        report.late_replicas
    );
    late.resume_replay().await.unwrap();
}

/// Whoever waits longer than a second for a lock tells so by an error: slowness of the machine is not counted.
#[tokio::test]
async fn r08_2_migrations_that_the_lint_calls_safe_hold_nobody_up_on_a_big_busy_table() {
    let (cluster, mut config) = server().await;
    config.schema.lock_timeout = Duration::from_millis(100);
    let big = "CREATE TABLE big (id int PRIMARY KEY, n int); INSERT INTO big SELECT i, i FROM generate_series(1, 200000) AS i; \
               CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT i FROM generate_series(1, 200000) AS i; ANALYZE";
    cluster.primary().execute(big).await.unwrap();
    let folder = Folder::of(&[
        ("1_column", "ALTER TABLE big ADD COLUMN added timestamptz NOT NULL DEFAULT now();", ""),
        ("2_check", "ALTER TABLE big ADD CONSTRAINT filled CHECK (n IS NOT NULL) NOT VALID;", ""),
        ("3_validate", "ALTER TABLE big VALIDATE CONSTRAINT filled;", ""),
        ("4_not_null", "ALTER TABLE big ALTER COLUMN n SET NOT NULL;", ""),
        ("5_key", "ALTER TABLE big ADD CONSTRAINT others FOREIGN KEY (n) REFERENCES other NOT VALID;", ""),
        ("6_validate", "ALTER TABLE big VALIDATE CONSTRAINT others;", ""),
    ]);
    folder.add_alone("7_index", "CREATE INDEX CONCURRENTLY big_n ON big (n);", "");
    let found = dbopt_diesel::core::schema::lint::lint(folder.read().list(), |_| true);
    assert!(found.is_empty(), "{found:?}");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = (0..4).map(|i| {
        let (url, stop) = (cluster.primary().url(), stop.clone());
        tokio::spawn(async move {
            let (client, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(driver);
            client.batch_execute("SET lock_timeout = '1s'").await.unwrap();
            let mut done = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let id = 1 + (i * 50_000 + done * 37) % 200_000;
                // Now and then somebody reads for longer than the migration may wait.
                let sql = match done % 40 {
                    0 => "BEGIN; SELECT count(*) FROM big WHERE id < 10; SELECT pg_sleep(0.3); COMMIT".to_owned(),
                    n if n % 2 == 0 => format!("SELECT n FROM big WHERE id = {id}"),
                    _ => format!("UPDATE big SET n = n WHERE id = {id}"),
                };
                client.batch_execute(&sql).await.map_err(|error| format!("{sql}: {error:?}")).unwrap();
                done += 1;
            }
            done
        })
    });
    let load: Vec<_> = load.collect();
    let report = folder.migrator(&config).up(&Forward::default()).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let done = join_all(load).await.into_iter().map(Result::unwrap).sum::<u32>();
    assert_eq!(report.ran.len(), 7);
    assert!(done > 0);
}
