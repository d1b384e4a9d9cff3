//! R8: the history of migrations, and what does not agree with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dbopt_diesel::core::schema::history::Outcome;
use dbopt_diesel::core::schema::plan::State;
use dbopt_diesel::migrate::{Back, Forward};
use dbopt_tests::migrations::{migrated, server, tables, two, versions};

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
    assert_eq!(versions(cluster.primary()).await, "20260101000000");
}

#[tokio::test]
async fn r08_1_an_edited_or_missing_migration_is_refused_with_the_difference() {
    let (cluster, config, folder) = migrated().await;
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
    assert_eq!(tables(cluster.primary()).await, "a,b", "nothing was run");
    folder.remove("2026-01-01-000000_a");
    let error = folder.migrator(&config).up(&Forward::default()).await.unwrap_err().to_string();
    assert!(error.contains("2026-01-01-000000_a: missing") && error.contains("-CREATE TABLE a (id int"), "{error}");
    let accept = Forward { accept_drift: vec!["20260101000000".into()], ..Forward::default() };
    folder.migrator(&config).up(&accept).await.unwrap();
    assert_eq!(tables(cluster.primary()).await, "a,b,c");
}

#[tokio::test]
async fn r08_1_an_edit_that_was_accepted_is_told_no_more() {
    let (_cluster, config, folder) = migrated().await;
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
