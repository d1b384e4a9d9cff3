//! Nodes that are not what the settings say, and what their machines tell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dbopt_diesel::core::cluster::{Asked, Cpu, HostSample, HostSource, HostSourceKind, Told};
use dbopt_diesel::dev::{Cluster, Proxy};
use dbopt_diesel::{Config, Db};
use dbopt_tests::{Things, becomes, calls, cluster, config, connect, named, node, prepared, until};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

fn quick(mut config: Config) -> Config {
    config.cluster.probe_interval = Duration::from_millis(100);
    (config.cluster.host.interval, config.cluster.host.timeout) = (Duration::from_millis(500), Duration::from_secs(1));
    config
}

#[tokio::test]
async fn a_node_of_another_cluster_gets_nothing() {
    let (own, other) = (cluster(1).await, cluster(0).await);
    let mut nodes: Vec<_> = own.nodes().iter().map(|node| (node.name().to_owned(), node.url())).collect();
    nodes.insert(0, ("stranger".into(), other.primary().url()));
    let things = Things { db: connect(quick(named(nodes))).await };
    let stranger = node(&things.db, "stranger");
    assert_eq!(stranger.state.name(), "foreign");
    assert!(stranger.cause.unwrap().contains("system identifier differs"));
    things.set(1, 1).await.unwrap();
    assert_eq!(things.write_port().await.unwrap(), i32::from(own.primary().port()));
    assert!(!calls(&things.db, "read").contains_key("stranger"));
}

/// By another address and another port, as through a proxy or a pooler.
#[tokio::test]
async fn two_urls_of_one_server_are_told_and_used_once() {
    let cluster = cluster(1).await;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], cluster.replica(1).port()))).await.unwrap();
    let again =
        cluster.replica(1).url().replace(&cluster.replica(1).port().to_string(), &proxy.addr().port().to_string());
    let mut nodes: Vec<_> = cluster.nodes().iter().map(|node| (node.name().to_owned(), node.url())).collect();
    nodes.push(("again".into(), again));
    let things = Things { db: connect(quick(named(nodes))).await };
    assert_eq!(node(&things.db, "replica-1").state.name(), "healthy");
    let twin = node(&things.db, "again");
    assert_eq!(twin.state.name(), "duplicate");
    assert!(twin.cause.unwrap().contains("the same server as `replica-1`: remove one of the two URLs"));
    for _ in 0..20 {
        things.read_port().await.unwrap();
    }
    assert!(!calls(&things.db, "read").contains_key("again"));
    assert_eq!(things.db.status().warnings.len(), 1, "one replica is one, by whatever names");
    // Behind the second URL is another server now, or none.
    proxy.reset();
    becomes(&things.db, "again", "unreachable", PATIENCE).await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_costs_that_node_only() {
    let cluster = cluster(1).await;
    let mut nodes: Vec<_> = cluster.nodes().iter().map(|node| (node.name().to_owned(), node.url())).collect();
    nodes.push(("typo".into(), "postgres://u@no-such-host.invalid/d".into()));
    let things = Things { db: connect(quick(named(nodes))).await };
    becomes(&things.db, "typo", "unreachable", PATIENCE).await;
    assert!(node(&things.db, "typo").cause.unwrap().contains("check the host name in the URL"));
    things.set(1, 1).await.unwrap();
    things.read_port().await.unwrap();
}

/// A role that may only log in: the replica serves, what cannot be seen is said, and a cut is known all the same.
#[tokio::test]
async fn a_role_without_grants_is_enough_to_serve() {
    let cluster = prepared(Cluster::builder().replicas(2).redis(false).proxied_replication(true)).await;
    cluster.primary().execute("CREATE ROLE app LOGIN; GRANT SELECT ON things TO app").await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    let urls = cluster.nodes().iter().map(|node| (node.name(), node.url().replace("postgres@", "app@")));
    let mut config = quick(named(urls));
    config.cluster.host.source = HostSourceKind::Sql;
    let things = Things { db: connect(config).await };
    let seen = node(&things.db, "replica-1");
    assert_eq!(seen.state.name(), "healthy");
    assert_eq!((serde_json::to_value(seen.receiver).unwrap(), seen.upstream), ("hidden".into(), None));
    assert!(seen.notes.iter().any(|note| note.contains("GRANT pg_monitor")), "{:?}", seen.notes);
    until("it is said why there are no statistics", PATIENCE, async || {
        node(&things.db, "replica-1").host_absent.is_some_and(|why| why.contains("permission denied"))
    })
    .await;
    cluster.replica(1).link().unwrap().cut();
    becomes(&things.db, "replica-1", "disconnected", PATIENCE).await;
    // With the grant it is seen whom they follow.
    cluster.primary().execute("GRANT pg_monitor TO app").await.unwrap();
    cluster.replica(1).link().unwrap().heal();
    until("the feeder is seen", PATIENCE, async || node(&things.db, "replica-2").upstream.is_some()).await;
    becomes(&things.db, "replica-1", "healthy", PATIENCE).await;
    until("nothing is hidden", PATIENCE, async || node(&things.db, "replica-1").notes.is_empty()).await;
}

/// The server reads its machine's files: directly, or by a function that needs no more than a right to call it.
#[tokio::test]
async fn a_server_tells_how_busy_its_machine_is() {
    let cluster = cluster(1).await;
    let function = "CREATE ROLE app LOGIN; \
        CREATE FUNCTION dbopt_host() RETURNS TABLE (stat text, meminfo text) LANGUAGE sql SECURITY DEFINER \
        SET search_path = pg_catalog AS $$ SELECT pg_read_file('/proc/stat', 0, 1024), pg_read_file('/proc/meminfo', 0, 4096) $$; \
        REVOKE ALL ON FUNCTION dbopt_host() FROM PUBLIC; GRANT EXECUTE ON FUNCTION dbopt_host() TO app";
    cluster.primary().execute(function).await.unwrap();
    cluster.wait_caught_up(PATIENCE).await.unwrap();
    let direct = cluster.nodes().iter().map(|node| (node.name(), node.url()));
    let granted = cluster.nodes().iter().map(|node| (node.name(), node.url().replace("postgres@", "app@")));
    let (mut direct, mut granted) = (quick(named(direct)), quick(named(granted)));
    direct.cluster.host.source = HostSourceKind::Sql;
    granted.cluster.host.source = HostSourceKind::Sql;
    granted.cluster.host.query = "SELECT * FROM dbopt_host();".into();
    for config in [direct, granted] {
        let db = connect(config).await;
        for name in ["primary", "replica-1"] {
            until("its machine is known", PATIENCE, async || node(&db, name).host.cpu.is_some()).await;
            let host = node(&db, name).host;
            let share = |value: Option<f64>| value.is_some_and(|value| (0.0..=1.0).contains(&value));
            assert!(share(host.cpu) && share(host.memory) && host.disk.is_none(), "{host:?}");
            assert_eq!(node(&db, name).host_absent, None);
        }
    }
}

async fn exporter(text: &'static str, cpu: Arc<AtomicU64>) -> String {
    let answer = move || {
        let busy = cpu.fetch_add(50, Ordering::Relaxed);
        let idle = busy * 3;
        async move {
            format!(
                "node_cpu_seconds_total{{mode=\"user\"}} {busy}\nnode_cpu_seconds_total{{mode=\"idle\"}} {idle}\n{text}"
            )
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().route("/metrics", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/metrics")
}

/// One exporter tells, one says nothing, one is not named: probes go on, and what nobody tells is absent.
#[tokio::test]
async fn node_exporters_tell_and_one_that_hangs_delays_nothing() {
    let cluster = cluster(2).await;
    let full = "node_memory_MemTotal_bytes 1000\nnode_memory_MemAvailable_bytes 700\n\
        node_filesystem_size_bytes{fstype=\"ext4\",mountpoint=\"/\"} 100\nnode_filesystem_avail_bytes{fstype=\"ext4\",mountpoint=\"/\"} 4\n";
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = quick(config(&cluster));
    config.cluster.host.source = HostSourceKind::NodeExporter;
    config.cluster.host.timeout = Duration::from_millis(300);
    config.database.nodes[0].host_metrics = exporter(full, Arc::new(AtomicU64::new(100))).await;
    config.database.nodes[1].host_metrics = format!("http://{}/metrics", silent.local_addr().unwrap());
    let db = connect(config).await;
    until("the exporter is heard", PATIENCE, async || node(&db, "primary").host.cpu.is_some()).await;
    let host = node(&db, "primary").host;
    let share = |value: Option<f64>| value.map(|value| (value * 100.0).round());
    assert_eq!((share(host.cpu), share(host.memory), share(host.disk)), (Some(25.0), Some(30.0), Some(96.0)));
    becomes(&db, "primary", "degraded", PATIENCE).await;
    assert!(node(&db, "primary").cause.unwrap().contains("96 % of its disk"));
    assert_eq!(db.status().primary.as_deref(), Some("primary"), "and it serves");
    let absent = |name: &str| node(&db, name).host_absent.unwrap_or_default();
    until("its silence is said", PATIENCE, async || absent("replica-1").contains("cluster.host.timeout")).await;
    assert!(absent("replica-2").contains("no host_metrics is written for it"));
    assert_eq!(node(&db, "replica-1").host, Default::default());
    cluster.replica(1).kill().await.unwrap();
    becomes(&db, "replica-1", "unreachable", Duration::from_secs(5)).await;
}

struct Cloud;

impl HostSource for Cloud {
    fn read<'a>(&'a self, asked: Asked<'a>) -> Told<'a> {
        Box::pin(async move {
            match (asked.node, asked.host) {
                ("primary", Some("127.0.0.1")) => {
                    Ok(HostSample { cpu: Some(Cpu::Share(0.5)), ..HostSample::default() })
                }
                _ => Err("the cloud does not know it".into()),
            }
        })
    }
}

#[tokio::test]
async fn a_source_of_ones_own_is_asked_and_none_is_said() {
    let cluster = cluster(1).await;
    let db: Db = Db::builder(quick(config(&cluster))).host_source(Cloud).connect().await.unwrap();
    until("it is heard", PATIENCE, async || node(&db, "primary").host.cpu == Some(0.5)).await;
    let absent = |db: &Db, name: &str| node(db, name).host_absent.unwrap_or_default();
    until("what it does not know", PATIENCE, async || absent(&db, "replica-1") == "the cloud does not know it").await;
    let none = connect(quick(config(&cluster))).await;
    until("that there is none", PATIENCE, async || absent(&none, "primary").contains("source is \"none\"")).await;
}
