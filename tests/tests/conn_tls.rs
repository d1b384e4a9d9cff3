//! Encryption as the URL asks for it, against servers with and without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::prelude::*;
use dbopt_tests::{Things, connect, named, prepared, until};
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::{AsyncConnection, RunQueryDsl};
use tokio::time::timeout;

const PASSWORD: &str = "pass word/with:signs@";

async fn encrypted() -> Cluster {
    prepared(Cluster::builder().replicas(0).redis(false).tls(true).password(PASSWORD)).await
}

async fn plain() -> Cluster {
    prepared(Cluster::builder().replicas(0).redis(false)).await
}

/// The node's URL with other parameters, and another host if one is given.
fn url(node: &Node, host: &str, parameters: &str) -> String {
    let url = node.url();
    let base = url.split('?').next().unwrap();
    format!("{}?{parameters}", base.replace("127.0.0.1", host))
}

#[derive(QueryableByName, Debug, PartialEq)]
struct Session {
    #[diesel(sql_type = Bool)]
    ssl: bool,
    #[diesel(sql_type = Nullable<Text>)]
    version: Option<String>,
}

async fn session(url: &str) -> Result<Session, String> {
    let mut conn = Conn::establish(url).await.map_err(|e| e.to_string())?;
    let mine = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    diesel::sql_query(mine).get_result(&mut conn).await.map_err(|e| e.to_string())
}

async fn is_encrypted(url: &str) -> bool {
    let session = session(url).await.unwrap();
    assert_eq!(session.ssl, session.version.is_some_and(|v| v == "TLSv1.3"));
    session.ssl
}

#[tokio::test]
async fn each_mode_means_what_libpq_means_by_it() {
    let cluster = encrypted().await;
    let node = cluster.primary();
    let ca = cluster.ca_certificate().unwrap().display().to_string();
    let stranger = encrypted().await;
    let wrong_ca = stranger.ca_certificate().unwrap().display().to_string();

    assert!(!is_encrypted(&url(node, "127.0.0.1", "sslmode=disable")).await);
    for mode in ["prefer", "allow", "require"] {
        assert!(is_encrypted(&url(node, "127.0.0.1", &format!("sslmode={mode}"))).await, "{mode}");
    }
    assert!(is_encrypted(&url(node, "127.0.0.1", "")).await, "prefer is the default");
    for (mode, host) in [("verify-ca", "127.0.0.1"), ("verify-full", "127.0.0.1"), ("verify-full", "localhost")] {
        assert!(is_encrypted(&url(node, host, &format!("sslmode={mode}&sslrootcert={ca}"))).await, "{mode} {host}");
    }
    for mode in ["verify-ca", "verify-full"] {
        let error =
            session(&url(node, "127.0.0.1", &format!("sslmode={mode}&sslrootcert={wrong_ca}"))).await.unwrap_err();
        assert!(error.contains("TLS") && error.contains("sslrootcert"), "{error}");
    }
    // Without a file the system's authorities decide, and they do not know ours.
    for parameters in ["sslmode=verify-full", "sslmode=verify-full&sslrootcert=system"] {
        let error = session(&url(node, "127.0.0.1", parameters)).await.unwrap_err();
        assert!(error.contains("TLS"), "{error}");
    }
    for (file, what) in [("/nowhere/ca.pem", "/nowhere/ca.pem"), ("/etc/hostname", "no certificate authority")] {
        let error =
            session(&url(node, "127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={file}"))).await.unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

/// The certificate names 127.0.0.1 and localhost: another address of this machine passes for the authority, not for the host.
#[tokio::test]
async fn a_certificate_of_another_host_is_refused_only_by_verify_full() {
    let other = "127.0.0.2";
    let builder = Cluster::builder().replicas(0).redis(false).tls(true).password(PASSWORD);
    let cluster = prepared(builder.setting("listen_addresses", format!("127.0.0.1,{other}"))).await;
    let ca = cluster.ca_certificate().unwrap().display().to_string();
    let to = |mode: &str| url(cluster.primary(), other, &format!("sslmode={mode}&sslrootcert={ca}"));
    assert!(is_encrypted(&to("verify-ca")).await);
    let error = session(&to("verify-full")).await.unwrap_err();
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_used_by_prefer_and_refused_by_require() {
    let cluster = plain().await;
    assert!(!is_encrypted(&url(cluster.primary(), "127.0.0.1", "sslmode=prefer")).await);
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = session(&url(cluster.primary(), "127.0.0.1", &format!("sslmode={mode}"))).await.unwrap_err();
        assert!(error.contains("does not offer TLS") && error.contains("sslmode=prefer"), "{error}");
    }
}

/// SCRAM binds the login to the channel: the server saw the very certificate that we saw.
#[tokio::test]
async fn the_login_is_bound_to_the_channel() {
    let cluster = encrypted().await;
    let node = cluster.primary();
    assert!(is_encrypted(&url(node, "127.0.0.1", "sslmode=require&channel_binding=require")).await);
    // Without TLS there is nothing to bind to, and the demand is not dropped silently.
    let error = session(&url(node, "127.0.0.1", "sslmode=disable&channel_binding=require")).await.unwrap_err();
    assert!(error.contains("channel binding") || error.contains("pg_hba.conf"), "{error}");
}

/// The whole framework over TLS with verified certificates, cancellation included.
#[tokio::test]
async fn calls_and_their_cancellation_work_over_tls() {
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).tls(true).password(PASSWORD)).await;
    let ca: &Path = cluster.ca_certificate().unwrap();
    let parameters = format!("sslmode=verify-full&sslrootcert={}&channel_binding=require", ca.display());
    let nodes = cluster.nodes().iter().map(|node| (node.name(), url(node, "localhost", &parameters)));
    let mut config = named(nodes);
    // Key derivation and signatures take their time in an unoptimised build.
    (config.pool.min, config.pool.connect_timeout) = (4, Duration::from_secs(20));
    let things = Things { db: connect(config).await };
    let seen = Context::anonymous().scope(async {
        things.set(1, 7).await?;
        things.value(1).await
    });
    assert_eq!(seen.await, Ok(Some(7)));
    let replica = cluster.replica(1);
    let sql = "SELECT count(*) FILTER (WHERE ssl) || ' of ' || count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
               WHERE application_name LIKE 'dbopt %' AND application_name <> 'dbopt-dev'";
    let seen = replica.query_text(sql).await.unwrap().unwrap();
    let (encrypted, all) = seen.split_once(" of ").unwrap();
    assert!(encrypted == all && all != "0", "{seen}");

    for _ in 0..3 {
        assert!(timeout(Duration::from_millis(50), things.slow_read(60.0)).await.is_err());
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()";
        until("it is stopped", Duration::from_secs(1), async || {
            replica.query_text(running).await.unwrap().as_deref() == Some("0")
        })
        .await;
        assert!(things.read_port().await.is_ok());
    }
}
