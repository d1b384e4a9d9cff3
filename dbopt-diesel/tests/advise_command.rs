//! `dbopt advise` on a real server: from statements to migrations that are applied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use dbopt_diesel::dev::Cluster;
use tokio::process::Command;

const SCHEMA: &str = "CREATE TABLE seats (id bigint PRIMARY KEY, flight_id bigint NOT NULL, label text NOT NULL); \
                      INSERT INTO seats SELECT n, n % 2000, 'seat ' || n FROM generate_series(1, 60000) AS n; ANALYZE";

async fn dbopt(dir: &Path, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
    command.current_dir(dir).env_clear().env("DATABASE_URL", url).args(arguments).stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn advice_becomes_a_migration_and_then_there_is_nothing_to_do() {
    let cluster = Cluster::builder().replicas(0).redis(false).start().await.unwrap();
    cluster.primary().execute(SCHEMA).await.unwrap();
    let copy = "advise_copy";
    cluster.create_database_from(copy, cluster.database()).await.unwrap();
    let (url, copy) = (cluster.primary().url(), cluster.primary().url_for(copy));
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();

    let (code, _, err) = dbopt(at, &url, &["advise"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("CREATE EXTENSION pg_stat_statements") && err.contains("--app"), "{err}");

    fs::write(at.join("seats.sql"), "SELECT label FROM seats WHERE flight_id = $1;\nSELECT 1 FROM nowhere;\n").unwrap();
    fs::create_dir(at.join("migrations")).unwrap();
    let (code, out, err) = dbopt(at, &url, &["advise", "--statements", "seats.sql"]).await;
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("unverified: ") && out.contains("1 could not be (--all shows them)"), "{out}");
    let arguments = ["advise", "--statements", "seats.sql", "--scratch", &copy, "--write-migration"];
    let (code, out, err) = dbopt(at, &url, &arguments).await;
    assert_eq!(code, 2, "{out}{err}");
    assert!(out.contains("CREATE INDEX CONCURRENTLY seats_flight_id_idx ON seats (flight_id);"), "{out}");
    assert!(out.contains("built on the copy") && err.contains("up.sql"), "{out}{err}");
    let (code, out, _) = dbopt(at, &url, &["advise", "--statements", "seats.sql", "--scratch", &copy, "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, told["missing"][0]["verified"]["by"].as_str()), (2, Some("scratch")), "{told}");

    let (code, out, err) = dbopt(at, &url, &["migrate", "up"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let there = cluster
        .primary()
        .query_text("SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'seats_flight_id_idx'::regclass")
        .await;
    assert_eq!(there.unwrap().as_deref(), Some("true"));
    let (code, out, err) = dbopt(at, &url, &["advise", "--statements", "seats.sql"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nothing to do"), "{out}");
    let (code, out, err) = dbopt(at, &url, &["migrate", "down"]).await;
    assert_eq!(code, 0, "{out}{err}");
}
