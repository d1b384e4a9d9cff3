//! What else a cluster is asked for.

use super::*;

#[tokio::test]
async fn settings_change_while_it_runs_and_errors_speak() {
    let cluster = small().replicas(0).start().await.unwrap();
    let node = cluster.primary();
    node.set("work_mem", "7MB").await.unwrap();
    assert_eq!(node.query_text("SHOW work_mem").await.unwrap().as_deref(), Some("7MB"));
    node.unset("work_mem").await.unwrap();
    assert_eq!(node.query_text("SHOW work_mem").await.unwrap().as_deref(), Some("4MB"));
    let wrong = node.execute("SELECT * FROM nowhere").await.unwrap_err();
    assert_eq!(wrong.sqlstate(), Some("42P01"));
    assert!(wrong.to_string().contains("primary") && wrong.to_string().contains("nowhere"), "{wrong}");
    assert_eq!(node.query_text("SELECT NULL").await.unwrap(), None);

    let wrong = small().setting("no_such_setting", "1").start().await.unwrap_err();
    assert!(matches!(wrong, DevError::Exited { .. }) && wrong.to_string().contains("no_such_setting"), "{wrong}");
}

#[tokio::test]
async fn databases_come_from_a_template_and_reach_the_replicas() {
    let cluster = small().start().await.unwrap();
    with_table(&cluster).await;
    cluster.create_database_from("test-1", "app").await.unwrap();
    cluster.create_database("plain").await.unwrap();
    let there = "SELECT count(*) FROM pg_database WHERE datname IN ('test-1', 'plain')";
    assert_eq!(cluster.replica(1).query_text(there).await.unwrap().as_deref(), Some("2"));
    assert!(cluster.primary().url_for("test-1").ends_with("/test-1"));
    assert_eq!(cluster.create_database("plain").await.unwrap_err().sqlstate(), Some("42P04"));
    cluster.drop_database("test-1").await.unwrap();
    cluster.drop_database("never was").await.unwrap();
    assert_eq!(cluster.primary().query_text(there).await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_copied_sequence_gives_no_number_twice_after_a_crash() {
    let cluster = small().replicas(0).start().await.unwrap();
    let run = |database: &str, sql: &str| {
        let output = psql(&cluster, &cluster.primary().url_for(database), sql, &[]);
        assert!(output.status.success(), "{output:?}");
    };
    let insert = "INSERT INTO numbered DEFAULT VALUES";
    run("app", "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)");
    run("app", insert);
    cluster.create_database_from("copy", "app").await.unwrap();
    run("copy", insert);
    cluster.primary().kill().await.unwrap();
    cluster.primary().start().await.unwrap();
    run("copy", insert);
}

#[tokio::test]
async fn a_password_is_asked_for_and_tls_is_offered() {
    let cluster = small().password("it's: a\\b/c@ü").tls(true).start().await.unwrap();
    let url = cluster.replica(1).url();
    let right = psql(&cluster, &url, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]);
    assert_eq!(String::from_utf8_lossy(&right.stdout).trim(), "t", "{right:?}");
    let authority = cluster.ca_certificate().unwrap().to_string_lossy().into_owned();
    let verified = url.replace("sslmode=require", &format!("sslmode=verify-full&sslrootcert={authority}"));
    assert!(psql(&cluster, &verified, "SELECT 1", &[]).status.success());
    let other_name = verified.replace("127.0.0.1", "127.0.0.2");
    assert!(!psql(&cluster, &other_name, "SELECT 1", &[]).status.success());
    let port = cluster.replica(1).port();
    let wrong =
        psql(&cluster, &format!("postgres://postgres@127.0.0.1:{port}/app"), "SELECT 1", &[("PGPASSWORD", "wrong")]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("password authentication failed"), "{wrong:?}");
    assert!(!format!("{cluster:?}").contains("it's"));
}

#[tokio::test]
async fn a_named_folder_keeps_its_data_also_over_a_failover() {
    let parent = open_folder();
    let dir = parent.path().join("data");
    let first = small().data_dir(&dir).start().await.unwrap();
    with_table(&first).await;
    let busy = small().data_dir(&dir).start().await.unwrap_err();
    assert!(matches!(busy, DevError::InUse { .. }), "{busy}");
    first.primary().kill().await.unwrap();
    first.replica(1).execute("SELECT pg_promote()").await.unwrap();
    first.replica(1).execute("INSERT INTO t VALUES (1)").await.unwrap();
    first.stop().await.unwrap();
    assert!(dir.exists() && members(&dir).is_empty());

    let second = small().replicas(2).data_dir(&dir).start().await.unwrap();
    for node in second.nodes() {
        assert_eq!(count(node).await.as_deref(), Some("1"), "{}", node.name());
    }
    assert!(second.primary().is_primary().await.unwrap());
    second.stop().await.unwrap();

    let strangers = open_folder();
    std::fs::write(strangers.path().join("thesis.tex"), "").unwrap();
    let refused = small().data_dir(strangers.path()).start().await.unwrap_err();
    assert!(matches!(refused, DevError::Invalid(_)), "{refused}");
}
