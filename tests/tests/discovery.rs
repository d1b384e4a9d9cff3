//! Servers that are found under a name, on real servers: each behind an address of its own and the port that all share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dbopt_diesel::core::cluster::{Found, Resolver};
use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::{Config, Db};
use dbopt_tests::crowd::Crowd;
use dbopt_tests::log::Log;
use dbopt_tests::{Things, calls, cluster, prepared, until};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);

/// Names with addresses that a test changes.
#[derive(Clone)]
struct Names(Arc<Mutex<Result<Vec<IpAddr>, String>>>);

impl Names {
    fn of(doors: &[u8]) -> Names {
        Names(Arc::new(Mutex::new(Ok(addresses(doors)))))
    }

    fn are(&self, doors: &[u8]) {
        *self.0.lock() = Ok(addresses(doors));
    }

    fn fail(&self) {
        *self.0.lock() = Err("the name server does not answer".into());
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _host: &'a str) -> Found<'a> {
        Box::pin(async move { self.0.lock().clone().map_err(io::Error::other) })
    }
}

fn addresses(doors: &[u8]) -> Vec<IpAddr> {
    doors.iter().map(|door| [127, 0, 7, *door].into()).collect()
}

/// Addresses 127.0.7.1, .2 and so on, on one port, with a server behind each.
struct Street {
    port: u16,
}

impl Street {
    async fn of(nodes: &[&Node]) -> Street {
        loop {
            let first = TcpListener::bind("127.0.7.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut doors = vec![first];
            for n in 2..=nodes.len() {
                doors.extend(TcpListener::bind(SocketAddr::from(([127, 0, 7, n as u8], port))).await);
            }
            if doors.len() == nodes.len() {
                doors.into_iter().zip(nodes).for_each(|(door, node)| drop(tokio::spawn(open(door, node.port()))));
                return Street { port };
            }
        }
    }

    fn config(&self, cluster: &Cluster, host: &str, parameters: &str) -> Config {
        let mut config = Config::default();
        let url = format!("postgres://postgres@{host}:{}/{}?{parameters}", self.port, cluster.database());
        config.database.discover = url.as_str().into();
        config.database.discover_interval = Duration::from_secs(1);
        config.cluster.probe_interval = Duration::from_millis(100);
        config
    }

    fn door(&self, number: u8) -> String {
        format!("127.0.7.{number}:{}", self.port)
    }

    fn doors(&self, numbers: &[u8]) -> Vec<String> {
        numbers.iter().map(|number| self.door(*number)).collect()
    }
}

async fn open(door: TcpListener, to: u16) {
    while let Ok((mut inside, _)) = door.accept().await {
        tokio::spawn(async move {
            if let Ok(mut outside) = TcpStream::connect(("127.0.0.1", to)).await {
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}

async fn connect(config: Config, names: &Names) -> Things {
    Things { db: Db::builder(config).resolver(names.clone()).connect().await.unwrap() }
}

fn shown(db: &Db) -> Vec<String> {
    db.status().nodes.iter().map(|node| node.name.to_string()).collect()
}

/// Reads until each of these serves, and nobody else is there.
async fn serve(things: &Things, doors: &[String]) {
    until(&format!("reads on {doors:?}"), PATIENCE, async || {
        let nodes = things.db.status().nodes;
        nodes.len() == doors.len() && nodes.iter().all(|n| n.state.serves() && doors.contains(&n.name.to_string()))
    })
    .await;
}

async fn read_until_called(things: &Things, door: &str) {
    until(&format!("a read on {door}"), PATIENCE, async || {
        things.read_port().await.unwrap();
        calls(&things.db, "read").contains_key(door)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_addresses_of_a_name_serve_and_follow_it_without_an_error() {
    let cluster = cluster(3).await;
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let street = Street::of(&nodes).await;
    let names = Names::of(&[1, 2, 3]);
    let things = connect(street.config(&cluster, "db.internal", ""), &names).await;
    serve(&things, &street.doors(&[1, 2, 3])).await;
    assert_eq!(things.write_port().await.unwrap(), i32::from(cluster.primary().port()));
    let crowd = Crowd::of_readers(&things);
    read_until_called(&things, &street.door(2)).await;
    read_until_called(&things, &street.door(3)).await;

    // One more is used without a restart.
    names.are(&[1, 2, 3, 4]);
    read_until_called(&things, &street.door(4)).await;

    // One that goes is left, though its server is well, and is seen nowhere any more.
    names.are(&[1, 2, 4]);
    serve(&things, &street.doors(&[1, 2, 4])).await;
    let metrics = things.db.runtime().metrics();
    assert!(metrics.contains(&street.door(4)) && !metrics.contains(&street.door(3)), "{metrics}");
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'dbopt%' AND application_name <> 'dbopt-dev'";
    until("no connection is left there", PATIENCE, async || {
        cluster.replica(2).query_text(sql).await.unwrap().as_deref() == Some("0")
    })
    .await;

    // And when it comes back it is one of them again.
    names.are(&[1, 2, 3, 4]);
    serve(&things, &street.doors(&[1, 2, 3, 4])).await;
    let (errors, _) = crowd.stop().await;
    assert_eq!(errors, Vec::<String>::new());
}

#[tokio::test]
async fn a_slot_begins_anew_with_whoever_takes_it() {
    let cluster = cluster(2).await;
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let street = Street::of(&nodes).await;
    let names = Names::of(&[1, 2]);
    let mut config = street.config(&cluster, "db.internal", "");
    config.database.discover_max = 2;
    let things = connect(config, &names).await;
    serve(&things, &street.doors(&[1, 2])).await;
    for _ in 0..50 {
        things.read_port().await.unwrap();
    }
    assert_eq!(calls(&things.db, "read")[&street.door(2)], 50);

    names.are(&[1, 2, 3]);
    let warned =
        format!("1 of 3 found for db.internal are not used, as database.discover_max is 2: {}", street.door(3));
    until("the warning", PATIENCE, async || things.db.status().warnings.iter().any(|w| w.contains(&warned))).await;
    assert_eq!(shown(&things.db), street.doors(&[1, 2]), "who was there stays");

    names.are(&[1, 3]);
    serve(&things, &street.doors(&[1, 3])).await;
    assert!(
        !things.db.status().warnings.iter().any(|w| w.contains("are not used")),
        "{:?}",
        things.db.status().warnings
    );
    assert!(calls(&things.db, "read").is_empty(), "what the other one did is not its doing");
    let port = i32::from(cluster.replica(2).port());
    until("a read there", PATIENCE, async || things.read_port().await.unwrap() == port).await;
    assert!(things.db.runtime().metrics().contains(&street.door(3)));
}

#[tokio::test]
async fn a_failed_look_up_keeps_what_there_is() {
    let (log, _guard) = Log::keep();
    let cluster = cluster(1).await;
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let street = Street::of(&nodes).await;
    let names = Names::of(&[1, 2]);
    let things = connect(street.config(&cluster, "db.internal", ""), &names).await;
    names.fail();
    let told = |w: &String| w.contains("db.internal has no address: the name server does not answer");
    until("it is said", PATIENCE, async || things.db.status().warnings.iter().any(told)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(shown(&things.db), street.doors(&[1, 2]));
    things.read_port().await.unwrap();
    assert_eq!(log.with("the last look-up failed").len(), 1, "once");
    names.are(&[]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(shown(&things.db), street.doors(&[1, 2]), "an empty answer is none");
    names.are(&[1, 2]);
    until("it is over", PATIENCE, async || !things.db.status().warnings.iter().any(|w| w.contains("look-up"))).await;
}

#[tokio::test]
async fn a_server_with_a_url_of_its_own_is_not_found_once_more() {
    let cluster = cluster(1).await;
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let street = Street::of(&nodes).await;
    let mut config = street.config(&cluster, "db.internal", "");
    config.database.url = format!("postgres://postgres@{}/{}", street.door(1), cluster.database()).as_str().into();
    let things = connect(config, &Names::of(&[1, 2])).await;
    serve(&things, &street.doors(&[1, 2])).await;
}

#[tokio::test]
async fn certificates_are_those_of_the_name_and_not_of_the_addresses() {
    let cluster = prepared(Cluster::builder().replicas(1).redis(false).tls(true)).await;
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let street = Street::of(&nodes).await;
    let parameters = format!("sslmode=verify-full&sslrootcert={}", cluster.ca_certificate().unwrap().display());
    // The certificate names localhost, and no address of this street.
    let things = connect(street.config(&cluster, "localhost", &parameters), &Names::of(&[1, 2])).await;
    serve(&things, &street.doors(&[1, 2])).await;
    things.set(1, 1).await.unwrap();
    let other = street.config(&cluster, "db.internal", &parameters);
    let error = Db::builder(other).resolver(Names::of(&[1, 2])).connect().await.unwrap_err().to_string();
    assert!(error.contains("TLS") && error.contains(&street.door(2)), "{error}");
}

#[tokio::test]
async fn a_name_without_addresses_says_at_the_start_what_to_check() {
    let config = Config::from_toml("[database]\ndiscover = \"postgres://app:hunter2@nowhere.invalid/shop\"").unwrap();
    let error = Db::connect(config).await.unwrap_err().to_string();
    for part in ["nowhere.invalid:5432", "has no address", "check the host name in database.discover"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn other_servers_do_without_the_name() {
    let cluster = cluster(1).await;
    let mut config = dbopt_tests::config(&cluster);
    config.database.discover = "postgres://postgres@db.internal/app".into();
    let names = Names::of(&[]);
    names.fail();
    let things = connect(config, &names).await;
    things.read_port().await.unwrap();
    assert_eq!(shown(&things.db), ["primary", "replica-1"]);
    assert!(things.db.status().warnings.iter().any(|w| w.contains("db.internal has no address")));
    let health = serde_json::to_value(things.db.status().health).unwrap();
    assert_eq!(health, "ok", "a slot with nobody in it is no node that is missing");
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_refused() {
    for (setting, wanted) in [
        ("discover = \"postgres://app@db.internal:0/shop\"", "no server has port 0: write the port"),
        ("discover = \"postgres://app@%2Fvar%2Frun/shop\"", "names no host that could be looked up"),
        (
            "discover = \"mysql://db.internal/shop\"",
            "database.discover: the URL cannot be used: write it as postgres://",
        ),
    ] {
        let config = Config::from_toml(&format!("[database]\n{setting}")).unwrap();
        let error = Db::connect(config).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
    for (setting, wanted) in [
        ("discover_max = 0", "line 3: database.discover_max = 0: no server would be used; write at least 1"),
        ("discover_interval = \"100ms\"", "line 3: database.discover_interval = 100ms: write \"1s\" to \"1h\""),
    ] {
        let text = format!("[database]\ndiscover = \"postgres://app@db.internal/shop\"\n{setting}");
        let error = Config::from_toml(&text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted} in {error}");
    }
}
