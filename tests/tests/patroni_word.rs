//! R2.1, R6.1: Patroni's word, played by a small web server, over real PostgreSQL servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use dbopt_diesel::core::cluster::{Mode, Patroni};
use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::{Config, Db};
use dbopt_tests::patroni::{Played, Served, listed, own};
use dbopt_tests::{Things, becomes, cluster, config, connect, node, prepared, until};
use serde_json::json;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_secs(20);

fn following(cluster: &Cluster, members: &[&Played]) -> Config {
    let mut config = config(cluster);
    config.cluster.mode = Mode::Patroni;
    config.cluster.patroni.urls = members.iter().map(|member| member.url().as_str().into()).collect();
    config.cluster.patroni.interval = Duration::from_millis(200);
    config
}

/// Two members, which say what is so: the first node leads.
async fn members(cluster: &Cluster) -> (Played, Played) {
    let (one, two) = (Played::start().await, Played::start().await);
    tell(cluster, &one, &two).await;
    (one, two)
}

async fn tell(cluster: &Cluster, one: &Played, two: &Played) {
    for (i, member) in [one, two].into_iter().enumerate() {
        let own = own(&cluster.nodes()[i]).await;
        member.says("/patroni", 200, &own);
        member.says("/primary", if i == 0 { 200 } else { 503 }, &own);
        member.says("/config", 200, json!({ "ttl": 2 }));
        member.says("/cluster", 200, listed(cluster, Some(0), &[one, two]));
    }
}

async fn refused(config: Config) -> String {
    match Db::connect(config).await {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

fn warns(db: &Db, of: &str) -> bool {
    db.status().warnings.iter().any(|warning| warning.contains(of))
}

async fn promote(node: &Node) {
    node.query_text("SELECT pg_promote()::text").await.unwrap();
}

/// Its Patroni was killed, and nobody has told it: it takes writes for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_primary_that_patroni_does_not_name_is_not_used() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    let things = Things { db: connect(following(&cluster, &[&one, &two])).await };
    let served = Served::of(&things, 8);
    until("writes", PATIENCE, async || served.count() > 100).await;
    // The other one has the lock, and is not promoted yet: writes wait.
    one.hangs(true);
    two.says("/cluster", 200, listed(&cluster, Some(1), &[&one, &two]));
    becomes(&things.db, "primary", "fenced", PATIENCE).await;
    sleep(Duration::from_millis(500)).await;
    let by_the_old_one = served.by(cluster.primary().port()).len();
    sleep(Duration::from_secs(1)).await;
    promote(cluster.replica(1)).await;
    until("they go on", PATIENCE, async || served.by(cluster.replica(1).port()).len() > 100).await;
    assert_eq!(served.by(cluster.primary().port()).len(), by_the_old_one);
    assert!(cluster.primary().is_primary().await.unwrap(), "it would have taken them");
    let cause = node(&things.db, "primary").cause.unwrap();
    assert!(cause.contains("stale primary"), "{cause}");
    assert_eq!(things.db.status().failovers.count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_without_a_leader_the_one_that_stands_for_itself_goes_on_and_no_other() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    let things = Things { db: connect(following(&cluster, &[&one, &two])).await };
    // The store is gone, and the leader goes on: failsafe mode.
    [&one, &two].into_iter().for_each(|member| member.forgets("/cluster"));
    until("it is said", PATIENCE, async || warns(&things.db, "cannot reach their store")).await;
    things.write_port().await.unwrap();
    // The store is back, and nobody has the lock.
    [&one, &two].into_iter().for_each(|member| member.says("/cluster", 200, listed(&cluster, None, &[&one, &two])));
    until("it is said", PATIENCE, async || warns(&things.db, "nobody holds the lock")).await;
    things.write_port().await.unwrap();
    // And its Patroni is gone.
    one.says("/primary", 503, "<html>");
    becomes(&things.db, "primary", "fenced", PATIENCE).await;
    assert!(warns(&things.db, "writes wait until there is one"), "{:?}", things.db.status().warnings);
    // Paused: nobody would replace it.
    let mut paused = listed(&cluster, None, &[&one, &two]);
    paused["pause"] = true.into();
    [&one, &two].into_iter().for_each(|member| member.says("/cluster", 200, &paused));
    becomes(&things.db, "primary", "healthy", PATIENCE).await;
    assert!(warns(&things.db, "paused"), "{:?}", things.db.status().warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_1_a_patroni_that_does_not_answer_leaves_the_decision_to_the_servers() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    one.hangs(true);
    let mut config = following(&cluster, &[&one, &two]);
    config.cluster.patroni.timeout = Duration::from_millis(100);
    let things = Things { db: connect(config).await };
    assert!(!warns(&things.db, "do not answer"), "the second one answers");
    two.hangs(true);
    until("it is said", PATIENCE, async || warns(&things.db, "the servers alone decide")).await;
    things.write_port().await.unwrap();
    cluster.primary().kill().await.unwrap();
    promote(cluster.replica(1)).await;
    assert_eq!(things.write_port().await.unwrap() as u16, cluster.replica(1).port());
    two.hangs(false);
    until("it is over", PATIENCE, async || !warns(&things.db, "the servers alone decide")).await;
}

/// As when another cluster's backup is restored, or a lock was stolen: what was written there is lost, and Patroni means it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r02_5_a_leader_on_an_earlier_timeline_is_believed_late_and_told() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    promote(cluster.replica(1)).await;
    [&one, &two].into_iter().for_each(|member| member.says("/cluster", 200, listed(&cluster, Some(1), &[&one, &two])));
    let things = Things { db: connect(following(&cluster, &[&one, &two])).await };
    assert_eq!(things.write_port().await.unwrap() as u16, cluster.replica(1).port());
    [&one, &two].into_iter().for_each(|member| member.says("/cluster", 200, listed(&cluster, Some(0), &[&one, &two])));
    until("it is said", PATIENCE, async || warns(&things.db, "is on timeline 1, and 2 was seen")).await;
    assert_eq!(things.db.status().primary, None);
    until("it is believed", PATIENCE, async || things.db.status().primary.as_deref() == Some("primary")).await;
    assert!(warns(&things.db, "timeline regression"), "{:?}", things.db.status().warnings);
    assert_eq!(things.write_port().await.unwrap() as u16, cluster.primary().port());
    let events = things.db.status().events;
    assert!(events.iter().any(|event| event.text.contains("timeline regression: 2 was seen before")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_something_else_are_refused_with_what_to_write() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    let refused = async |members: &[&Played]| refused(following(&cluster, members)).await;
    let page = Played::start().await;
    page.says("/patroni", 200, "<html><h1>It works!</h1></html>");
    let error = refused(&[&one, &page]).await;
    assert!(
        error.contains(&page.url()) && error.contains("a web page, not Patroni") && error.contains("restapi"),
        "{error}"
    );

    let mut stranger = own(cluster.replica(1)).await;
    stranger["database_system_identifier"] = "4711".into();
    two.says("/patroni", 200, &stranger);
    let error = refused(&[&one, &two]).await;
    assert!(error.contains("is a member of another cluster") && error.contains("4711"), "{error}");

    let mut other = own(cluster.replica(1)).await;
    other["patroni"]["scope"] = "other".into();
    two.says("/patroni", 200, &other);
    assert!(refused(&[&one, &two]).await.contains("keep the members of one cluster"));

    let mut old = own(cluster.replica(1)).await;
    old["patroni"]["version"] = "3.0.2".into();
    two.says("/patroni", 200, &old);
    let db = connect(following(&cluster, &[&one, &two])).await;
    assert!(warns(&db, "is Patroni 3.0.2: before 3.0.3"), "{:?}", db.status().warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_asked_as_it_wants_to_be_and_given_orders_with_credentials() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    let mut config = following(&cluster, &[&one, &two]);
    config.cluster.patroni.urls[0] = one.url().replace("http://", "http://padm:pad%40m@").as_str().into();
    let db = connect(config.clone()).await;
    until("it is asked", PATIENCE, async || one.asked().len() > 5).await;
    let questions = one.asked();
    assert!(questions.iter().all(|asked| asked.version == axum::http::Version::HTTP_10), "{questions:?}");
    assert!(questions.iter().all(|asked| asked.headers.get("authorization").is_none()), "nobody needs it to ask");
    db.shutdown().await;

    let patroni = Patroni::new(&config.cluster.patroni).unwrap();
    let error = patroni.switchover(Some("replica-9")).await.unwrap_err().to_string();
    assert!(error.contains("`replica-9` is none of Patroni's members: write one of primary, replica-1"), "{error}");
    one.says("/switchover", 200, "Successfully switched over to \"replica-1\"");
    assert!(patroni.switchover(Some("replica-1")).await.unwrap().contains("Successfully"));
    let order = one.asked().into_iter().find(|asked| asked.what == "POST /switchover").unwrap();
    let wanted = json!({ "leader": "primary", "candidate": "replica-1" });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&order.body).unwrap(), wanted);
    assert_eq!(order.headers["authorization"], "Basic cGFkbTpwYWRAbQ==");
    one.says("/switchover", 412, "leader name does not match");
    let error = patroni.switchover(None).await.unwrap_err().to_string();
    assert_eq!(error, "Patroni refuses (412): leader name does not match");
    assert!(two.asked().iter().all(|asked| !asked.what.starts_with("POST")), "the leader is told, who acts at once");

    two.says("/reinitialize", 200, "reinitialize started");
    assert_eq!(patroni.reinitialize("replica-1").await.unwrap(), "reinitialize started");
    let order = two.asked().into_iter().find(|asked| asked.what == "POST /reinitialize").unwrap();
    assert_eq!(order.headers["authorization"], "Basic cGFkbTpwYWRAbQ==", "at the replica's own address");
}

/// The leader is told even if another member lists it: only who is asked acts at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_to_the_leader_itself_where_it_can() {
    let cluster = cluster(1).await;
    let (one, two) = members(&cluster).await;
    let mut config = following(&cluster, &[&two]);
    config.cluster.patroni.urls[0] = two.url().replace("http://", "http://padm:pad%40m@").as_str().into();
    let patroni = Patroni::new(&config.cluster.patroni).unwrap();
    let leader = patroni.leader().await.unwrap();
    assert_eq!((&*leader.name, leader.server.unwrap().port), ("primary", cluster.primary().port()));
    one.says("/switchover", 200, "Successfully switched over to \"replica-1\"");
    two.says("/switchover", 503, "failed");
    patroni.switchover(None).await.unwrap();
    let order = one.asked().into_iter().find(|asked| asked.what == "POST /switchover").unwrap();
    assert_eq!(order.headers["authorization"], "Basic cGFkbTpwYWRAbQ==");
    // One that does not answer cannot be told.
    one.says("/cluster", 502, "<html>");
    two.says("/switchover", 200, "Successfully");
    patroni.switchover(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_tls_are_verified() {
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).tls(true)).await;
    let authority = |cluster: &Cluster| cluster.ca_certificate().unwrap().display().to_string();
    let encrypted = async |host| Played::start_encrypted(host, &cluster).await;
    let (one, two) = (encrypted("127.0.0.1").await, encrypted("127.0.0.1").await);
    tell(&cluster, &one, &two).await;
    let with = |members: &[&Played], authority: &str| {
        let mut config = following(&cluster, members);
        config.cluster.patroni.sslrootcert = authority.into();
        config
    };
    let good = with(&[&one, &two], &authority(&cluster));
    let things = Things { db: connect(good.clone()).await };
    assert!(!warns(&things.db, "Patroni"), "{:?}", things.db.status().warnings);
    until("it is asked", PATIENCE, async || one.asked().len() > 5).await;
    things.write_port().await.unwrap();
    let mut orders = good;
    orders.cluster.patroni.urls[0] = one.url().replace("https://", "https://padm:pad%40m@").as_str().into();
    one.says("/switchover", 200, "Successfully");
    Patroni::new(&orders.cluster.patroni).unwrap().switchover(None).await.unwrap();
    let order = one.asked().into_iter().find(|asked| asked.what == "POST /switchover").unwrap();
    assert_eq!(order.headers["authorization"], "Basic cGFkbTpwYWRAbQ==");

    let stranger = prepared(Cluster::builder().replicas(0).redis(false).tls(true)).await;
    let error = refused(with(&[&one], &authority(&stranger))).await;
    assert!(error.contains(&one.url()) && error.contains("not signed by the authority in"), "{error}");
    let error = refused(with(&[&one], "system")).await;
    assert!(error.contains("write cluster.patroni.sslrootcert = "), "{error}");
    let elsewhere = encrypted("127.0.0.2").await;
    tell(&cluster, &elsewhere, &two).await;
    let error = refused(with(&[&elsewhere], &authority(&cluster))).await;
    assert!(error.contains(&elsewhere.url()) && error.contains("of another host"), "{error}");
    for (file, what) in
        [("/nowhere.pem", "/nowhere.pem cannot be read"), ("/etc/hostname", "has no certificate"), ("", "is empty")]
    {
        let error = refused(with(&[&one], file)).await;
        assert!(error.contains("cluster.patroni.sslrootcert") && error.contains(what), "{error}");
    }

    let (plain, _) = members(&cluster).await;
    let mut config = with(&[&plain], &authority(&cluster));
    config.cluster.patroni.urls[0] = plain.url().replace("http://", "https://").as_str().into();
    let error = refused(config.clone()).await;
    assert!(error.contains("no TLS is spoken there: write http://"), "{error}");
    config.cluster.patroni.urls[0] = one.url().replace("https://", "http://").as_str().into();
    let error = Patroni::new(&config.cluster.patroni).unwrap().leader().await.unwrap_err().to_string();
    assert!(error.contains("write https://"), "{error}");
}
