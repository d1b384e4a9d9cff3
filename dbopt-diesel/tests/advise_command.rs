//! `dbopt advise` on a real server: from statements to migrations that are applied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use command::dbopt as plain_dbopt;
use dbopt_diesel::admin;
use dbopt_diesel::dev::Cluster;
use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::json;
use tokio::net::TcpListener;
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

mod tables {
    diesel::table! { seats (id) { id -> BigInt, flight_id -> BigInt, label -> Text, } }
}

use tables::seats;

#[derive(Clone)]
struct Seats {
    db: Db,
}

#[repository(crate = dbopt_diesel)]
impl Seats {
    #[read]
    async fn of(&self, conn: &mut Conn, flight: i64) -> QueryResult<Vec<String>> {
        seats::table.filter(seats::flight_id.eq(flight)).select(seats::label).load(conn).await
    }
}

/// Serves it on loopback; gives its address.
async fn served(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// What an application puts before the admin router: a token, or a password.
async fn with_login(router: Router) -> String {
    let guard = |headers: HeaderMap, request: axum::extract::Request, next: Next| async move {
        let told = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // operator:secret0pass
        let known = told == "Bearer Secret0Token" || told == "Basic b3BlcmF0b3I6c2VjcmV0MHBhc3M=";
        if known { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
    };
    served(Router::new().nest("/operations/db", router).layer(from_fn(guard))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_application_is_asked_what_it_runs() {
    let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
    cluster.primary().execute(SCHEMA).await.unwrap();
    cluster.wait_caught_up(std::time::Duration::from_secs(10)).await.unwrap();
    let nodes: Vec<String> = cluster.nodes().iter().map(|node| node.url()).collect();
    let calls = Seats { db: Db::connect(Config::for_urls(nodes)).await.unwrap() };
    for flight in 0..20 {
        assert_eq!(calls.of(flight).await.unwrap().len(), 30);
    }
    let url = cluster.primary().url();
    let plain = served(admin::router(&calls.db)).await;
    let guarded = with_login(admin::router(&calls.db)).await;
    let below = format!("{guarded}/operations/db");
    let with_password = below.replacen("//", "//operator:secret0pass@", 1);
    let token = [("DBOPT_ADMIN_TOKEN", "Secret0Token")];
    let asked = async |app: &str, variables: &[(&str, &str)]| {
        plain_dbopt(variables, ["advise", "--url", &url, "--app", app, "--all"]).await
    };
    for (app, variables) in
        [(plain.as_str(), &[][..]), (&format!("{plain}/metrics/json"), &[]), (&below, &token), (&with_password, &[])]
    {
        let (code, out, err) = asked(app, variables).await;
        assert_eq!(code, Some(2), "{app}: {out}{err}");
        for part in
            ["CREATE INDEX CONCURRENTLY seats_flight_id_idx ON seats (flight_id);", "Seats::of (", "unverified: "]
        {
            assert!(out.contains(part), "{part}: {out}");
        }
        assert!(!format!("{out}{err}").contains("secret0pass"), "{out}{err}");
    }
    // What is there in its place is told, and what to do.
    let page = served(Router::new().route("/metrics/json", get(|| async { Html("<!doctype html><p>Log in") }))).await;
    let older = served(Router::new().route("/metrics/json", get(|| async { Json(json!({ "health": "ok" })) }))).await;
    let text = served(Router::new().route("/metrics/json", get(|| async { "hello" }))).await;
    let broken = served(Router::new().route("/metrics/json", get(|| async { StatusCode::BAD_GATEWAY }))).await;
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let wrong = below.replacen("//", "//operator:secret0wrong@", 1);
    for (app, parts) in [
        (page.as_str(), &["answers with a page", "admin port"][..]),
        (&older, &["tells nothing of its statements", "version before `insight`"]),
        (&text, &["is no status of dbopt", "another service"]),
        (&broken, &["502"]),
        (&nobody, &["nobody answers", "is the application running"]),
        (&guarded, &["wants a login", "DBOPT_ADMIN_TOKEN"]),
        (&wrong, &["wants a login (401", "DBOPT_ADMIN_TOKEN"]),
        (&format!("{plain}/nowhere"), &["404", "below another path"]),
        ("localhost:8080", &["is no address", "http://host:port"]),
        ("ftp://operator:secret0pass@host", &["is no address", "http://host:port"]),
    ] {
        let (code, out, err) = asked(app, &[]).await;
        assert_eq!(code, Some(1), "{app}: {out}{err}");
        for part in parts {
            assert!(err.contains(part), "{app}: {part}: {err}");
        }
        assert!(!err.contains("secret0"), "{err}");
    }
    // The user of the database may see little: that is said.
    cluster.primary().execute("CREATE ROLE stranger LOGIN").await.unwrap();
    let user = cluster.primary().query_text("SELECT current_user::text").await.unwrap().unwrap();
    let theirs = url.replacen(&format!("//{user}"), "//stranger", 1);
    let (_, out, err) = plain_dbopt::<&str>(&[], ["advise", "--url", &theirs, "--app", &plain, "--all"]).await;
    assert!(out.contains("may not read its tables") && out.contains("cannot be read by this user"), "{out}{err}");
}
