//! R8: rollback scripts that are derived from the catalog.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dbopt_diesel::migrate::{Back, Error, Event, Forward};
use dbopt_tests::ddl::CORPUS;
use dbopt_tests::migrations::{Folder, server, value};

#[tokio::test]
async fn r08_5_each_forward_migration_gets_a_script_that_was_proved_there_and_back() {
    let (cluster, config) = server().await;
    cluster.primary().execute("CREATE ROLE reader").await.unwrap();
    let folder = Folder::new();
    for (i, (name, up)) in CORPUS.iter().enumerate() {
        folder.add(&format!("{i:03}_{name}"), up, "");
    }
    let told = |event: &Event| {
        if let Event::Unproved { name, wrong } = event {
            println!("{name}\n  {}", wrong.join("\n  "));
        }
    };
    let derived = folder.migrator(&config).watched(told).derive_downs(&[], None).await.unwrap();
    let mut wrong = Vec::new();
    for down in &derived {
        if !down.wrong.is_empty() {
            wrong.push(format!("{}\n{}\n  {}", down.migration.name, down.sql, down.wrong.join("\n  ")));
        }
        down.write(folder.path()).unwrap();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), derived.len(), wrong.join("\n\n"));
    assert_eq!(derived.len(), CORPUS.len());
    // The whole way on the real database: forward, back to nothing, forward.
    let migrator = folder.migrator(&config);
    migrator.up(&Forward::default()).await.unwrap();
    migrator.down(&Back { steps: Some(CORPUS.len()), accept_data_loss: true, ..Back::default() }).await.unwrap();
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM pg_namespace WHERE nspname IN ('shop', 'plain', 'Odd Name')").await,
        "0"
    );
    migrator.up(&Forward::default()).await.unwrap();
    assert_eq!(
        value(&cluster, "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'dbopt_scratch%'").await,
        "0",
        "scratch is gone"
    );
}

#[tokio::test]
async fn r08_5_a_script_that_loses_data_says_so_and_is_refused_until_it_is_accepted() {
    let (cluster, config) = server().await;
    let up = "CREATE TYPE kind AS ENUM ('x');\nCREATE TABLE a (id int, k kind); INSERT INTO a VALUES (7, 'x');";
    let folder = Folder::of(&[("1_a", up, "")]);
    let derived = folder.migrator(&config).derive_downs(&[], None).await.unwrap();
    assert!(derived[0].sql.contains("-- dbopt: loses all rows of public.a"), "{}", derived[0].sql);
    assert!(derived[0].sql.contains("-- dbopt: not undone: line 2: INSERT"), "{}", derived[0].sql);
    derived[0].write(folder.path()).unwrap();
    let migrator = folder.migrator(&config);
    migrator.up(&Forward::default()).await.unwrap();
    let error = migrator.down(&Back::default()).await.unwrap_err();
    assert!(matches!(error, Error::Lossy { .. }) && error.to_string().contains("--accept-data-loss"), "{error}");
    assert_eq!(value(&cluster, "SELECT count(*)::text FROM a").await, "1");
    let report = migrator.down(&Back { accept_data_loss: true, backup: true, ..Back::default() }).await.unwrap();
    let copy = &report.backups[0];
    // The type is gone with its table: the copy holds its values as text.
    assert_eq!(value(&cluster, &format!("SELECT id || k FROM {copy}")).await, "7x", "{copy}");
}

#[tokio::test]
async fn r08_5_an_index_that_is_built_beside_its_users_is_dropped_beside_them() {
    let (_cluster, config) = server().await;
    let folder = Folder::of(&[("1_a", "CREATE TABLE a (id int);", "DROP TABLE a;")]);
    folder.add_alone("2_index", "CREATE INDEX CONCURRENTLY a_id ON a (id);", "");
    let derived = folder.migrator(&config).derive_downs(&["2".to_owned()], None).await.unwrap();
    assert!(derived[0].sql.contains("DROP INDEX CONCURRENTLY public.a_id"), "{}", derived[0].sql);
    assert!(derived[0].wrong.is_empty(), "{:?}", derived[0].wrong);
}

/// The short form; CONTRIBUTING.md tells how four hundred are proved.
#[tokio::test]
async fn r08_5_the_migrations_of_a_large_application_go_forward_back_and_forward() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_application"));
    let ended = command.args(["--count", "60"]).kill_on_drop(true).output().await.unwrap();
    println!("{}", String::from_utf8_lossy(&ended.stdout));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
