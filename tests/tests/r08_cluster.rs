//! R8: migrations of a cluster: servers that are lost, replicas that follow, connections that are open.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::migrate::{Error, Forward};
use dbopt_tests::migrations::{Folder, server, tables, two, value, versions};
use dbopt_tests::until;
use futures_util::future::join_all;

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
        (tables(cluster.primary()).await.as_str(), versions(cluster.primary()).await.as_str()),
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
    let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
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
    let cluster = Cluster::builder().replicas(2).redis(false).start().await.unwrap();
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

/// Kills the primary, and makes the replica one.
async fn fail_over(cluster: &Cluster) {
    cluster.primary().kill().await.unwrap();
    cluster.replica(1).query_text("SELECT pg_promote()::text").await.unwrap();
}

#[tokio::test]
async fn r08_3_an_index_that_a_failover_cut_off_is_built_on_the_new_primary() {
    let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
    let mut config = dbopt_tests::config(&cluster);
    let folder = two();
    let slow = "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(60); RETURN i; END $$;";
    folder.add("2026-01-03-000000_slow", slow, "DROP FUNCTION slow(int);");
    folder.migrator(&config).up(&Forward::default()).await.unwrap();
    folder.add_alone(
        "2026-01-04-000000_index",
        "CREATE INDEX CONCURRENTLY a_slow ON a (slow(id));",
        "DROP INDEX CONCURRENTLY a_slow;",
    );
    let migrator = folder.migrator(&config);
    let migrating = tokio::spawn(async move { migrator.up(&Forward::default()).await });
    let building = "SELECT phase FROM pg_stat_progress_create_index";
    until("it is built", Duration::from_secs(60), async || value(&cluster, building).await.starts_with("building"))
        .await;
    cluster.wait_caught_up(Duration::from_secs(30)).await.unwrap();
    fail_over(&cluster).await;
    migrating.await.unwrap().unwrap_err();
    let replica = cluster.replica(1);
    let valid = "SELECT indisvalid::text FROM pg_index WHERE indexrelid = to_regclass('a_slow')";
    assert_eq!(replica.query_text(valid).await.unwrap().as_deref(), Some("false"));
    assert_eq!(versions(replica).await, "20260101000000,20260102000000,20260103000000");
    replica
        .execute("CREATE OR REPLACE FUNCTION slow(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i'")
        .await
        .unwrap();
    config.schema.replica_wait = Duration::ZERO;
    // By way of a handle: its cluster knows who the primary is now.
    let db = dbopt_tests::connect(config).await;
    let known = async || db.status().primary.as_deref() == Some("replica-1");
    until("the new primary is known", Duration::from_secs(30), known).await;
    let report = db.migrate_with(folder.read(), &Forward::default()).await.unwrap();
    assert!(report.ran.len() == 1 && report.server.contains(&replica.port().to_string()), "{report:?}");
    assert_eq!(replica.query_text(valid).await.unwrap().as_deref(), Some("true"));
    let history = "SELECT string_agg(outcome, ',' ORDER BY id) FROM __dbopt_schema_history";
    assert_eq!(replica.query_text(history).await.unwrap().as_deref(), Some("applied,applied,applied,applied"));
}

#[tokio::test]
async fn r08_3_a_primary_that_the_cluster_believes_no_more_gets_no_further_migration() {
    let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
    let config = dbopt_tests::config(&cluster);
    let db = dbopt_tests::connect(config).await;
    let folder = two();
    let waits = "CREATE TABLE c (id int); DO $$ BEGIN WHILE NOT pg_try_advisory_xact_lock(7) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;";
    folder.add("2026-01-03-000000_c", waits, "DROP TABLE c;");
    folder.add("2026-01-04-000000_d", "CREATE TABLE d (id int);", "DROP TABLE d;");
    let (gate, driver) = tokio_postgres::connect(&cluster.primary().url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    gate.batch_execute("SELECT pg_advisory_lock(7)").await.unwrap();
    let (handle, migrations) = (db.clone(), folder.read());
    let migrating = tokio::spawn(async move { handle.migrate_with(migrations, &Forward::default()).await });
    let waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'DO $$ BEGIN WHILE%'";
    until("the third one waits", Duration::from_secs(60), async || value(&cluster, waiting).await == "1").await;
    // The old primary lives on, and the migrator with it.
    let replica = cluster.replica(1);
    replica.query_text("SELECT pg_promote()::text").await.unwrap();
    let known = async || db.status().primary.as_deref() == Some("replica-1");
    until("the new primary is known", Duration::from_secs(30), known).await;
    gate.batch_execute("SELECT pg_advisory_unlock(7)").await.unwrap();
    let error = migrating.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoPrimary(_)) && error.to_string().contains("replica-1"), "{error}");
    assert_eq!(tables(cluster.primary()).await, "a,b,c");
    assert_eq!(
        (tables(replica).await.as_str(), versions(replica).await.as_str()),
        ("a,b", "20260101000000,20260102000000")
    );
}
