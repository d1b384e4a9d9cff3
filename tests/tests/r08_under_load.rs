//! R8: migrations that the lint calls safe, on a big table that others read and write meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dbopt_diesel::core::schema::lint::lint;
use dbopt_diesel::migrate::{Event, Forward};
use dbopt_tests::migrations::{Folder, server, value};
use futures_util::future::join_all;
use tokio::time::Instant;

/// One per pattern that the book recommends; those with a star cannot run in a transaction.
const SAFE: [(&str, &str); 23] = [
    ("column", "ALTER TABLE big ADD COLUMN added timestamptz NOT NULL DEFAULT now();"),
    ("check", "ALTER TABLE big ADD CONSTRAINT filled CHECK (n IS NOT NULL) NOT VALID;"),
    ("validate_check", "ALTER TABLE big VALIDATE CONSTRAINT filled;"),
    ("not_null", "ALTER TABLE big ALTER COLUMN n SET NOT NULL; ALTER TABLE big DROP CONSTRAINT filled;"),
    ("foreign_key", "ALTER TABLE big ADD CONSTRAINT others FOREIGN KEY (n) REFERENCES other NOT VALID;"),
    ("validate_key", "ALTER TABLE big VALIDATE CONSTRAINT others;"),
    ("index*", "CREATE INDEX CONCURRENTLY big_n ON big (n);"),
    ("unique_index*", "CREATE UNIQUE INDEX CONCURRENTLY big_unique ON big (id, n);"),
    ("unique", "ALTER TABLE big ADD CONSTRAINT big_unique UNIQUE USING INDEX big_unique;"),
    ("reindex*", "REINDEX INDEX CONCURRENTLY big_n;"),
    ("drop_index*", "DROP INDEX CONCURRENTLY big_n;"),
    ("drop_constraint", "ALTER TABLE big DROP CONSTRAINT others;"),
    ("default", "ALTER TABLE big ALTER COLUMN n SET DEFAULT 1;"),
    ("options", "ALTER TABLE big SET (fillfactor = 90);"),
    (
        "view",
        "CREATE VIEW small AS SELECT id FROM big WHERE n < 10; COMMENT ON TABLE big IS 'big'; GRANT SELECT ON big TO PUBLIC;",
    ),
    (
        "new_table",
        "CREATE TABLE detail (id int PRIMARY KEY, big int REFERENCES big); CREATE INDEX detail_big ON detail (big);",
    ),
    ("copy", "INSERT INTO detail SELECT id, id FROM big WHERE id <= 100000;"),
    (
        "trigger",
        "CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
         CREATE TRIGGER same BEFORE UPDATE ON big FOR EACH ROW EXECUTE FUNCTION same();",
    ),
    ("drop_trigger", "DROP TRIGGER same ON big;"),
    ("some_rows", "UPDATE big SET n = n WHERE id BETWEEN 199000 AND 199100;"),
    ("enum", "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE big ADD COLUMN mood mood DEFAULT 'good';"),
    ("value", "ALTER TYPE mood ADD VALUE 'better';"),
    ("detail", "ALTER TABLE big ADD COLUMN note text; COMMENT ON COLUMN big.note IS 'a note';"),
];

/// What somebody does to the table, one thing after another, until `stop`: how often, and how long the longest took that should be short. A wait of
/// a second for a lock is an error: how slow the machine is does not count.
async fn use_it(url: String, part: u32, stop: Arc<AtomicBool>) -> (u32, Duration) {
    let (client, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(driver);
    client.batch_execute("SET lock_timeout = '1s'").await.unwrap();
    let (mut done, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let id = 1 + part * 45_000 + done * 37 % 45_000;
        // Now and then one of them reads for longer than the migration may wait.
        let (sql, is_short) = match done % 40 {
            0 if part == 0 => {
                ("BEGIN; SELECT count(*) FROM big WHERE id < 10; SELECT pg_sleep(0.3); COMMIT".to_owned(), false)
            }
            n if n % 2 == 0 => (format!("SELECT n FROM big WHERE id = {id}"), true),
            _ => (format!("UPDATE big SET n = n WHERE id = {id}"), true),
        };
        let begun = Instant::now();
        client.batch_execute(&sql).await.map_err(|error| format!("{sql}: {error:?}")).unwrap();
        if is_short {
            longest = longest.max(begun.elapsed());
        }
        done += 1;
    }
    (done, longest)
}

#[tokio::test]
async fn r08_2_migrations_that_the_lint_calls_safe_hold_nobody_up_on_a_big_busy_table() {
    let (cluster, mut config) = server().await;
    config.schema.lock_timeout = Duration::from_millis(100);
    let big = "CREATE TABLE big (id int PRIMARY KEY, n int); INSERT INTO big SELECT i, i FROM generate_series(1, 200000) AS i; \
               CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT i FROM generate_series(1, 200000) AS i; ANALYZE";
    cluster.primary().execute(big).await.unwrap();
    let folder = Folder::new();
    for (i, (name, up)) in SAFE.into_iter().enumerate() {
        let name = format!("{i:02}_{name}");
        match name.strip_suffix('*') {
            Some(name) => folder.add_alone(name, up, ""),
            None => folder.add(&name, up, ""),
        }
    }
    let found = lint(folder.read().list(), |_| true);
    assert!(found.is_empty(), "{found:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let url = cluster.primary().url();
    let load: Vec<_> = (0..4).map(|part| tokio::spawn(use_it(url.clone(), part, stop.clone()))).collect();
    let gave_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = gave_way.clone();
    let migrator = folder.migrator(&config).watched(move |event| {
        if matches!(event, Event::NoLock { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let report = migrator.up(&Forward::default()).await;
    stop.store(true, Ordering::Relaxed);
    let done: Vec<(u32, Duration)> = join_all(load).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(report.unwrap().ran.len(), SAFE.len());
    let longest = done.iter().map(|(_, longest)| *longest).max().unwrap();
    let count = done.iter().map(|(done, _)| done).sum::<u32>();
    println!("{count} reads and writes, the longest {longest:?}; gave way {} times", gave_way.load(Ordering::Relaxed));
    assert!(count > 100, "{count}");
    assert_eq!(value(&cluster, "SELECT count(*)::text FROM big").await, "200000");
}
