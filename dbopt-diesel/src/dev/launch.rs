//! From nothing to a running cluster: one `initdb`, plain copies of its never started result as replicas (faster and
//! smaller than `pg_basebackup`), and everything that can start at once does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use tokio::time::Instant;

use super::account::Account;
use super::builder::{ClusterBuilder, Step};
use super::cluster::Cluster;
use super::conf::{access_rules, identifier, slot_name, sql_literal};
use super::error::DevError;
use super::find::Binaries;
use super::guardian::Guardian;
use super::node::{Node, START_PATIENCE, Shared};
use super::process::Program;
use super::proxy::Proxy;
use super::redis::Redis;
use super::tree::{self, Unfinished};
use super::{reuse, tls};

pub(super) async fn launch(plan: ClusterBuilder) -> Result<Cluster, DevError> {
    let began = Instant::now();
    plan.check()?;
    let look = tokio::task::spawn_blocking(|| Ok((Binaries::find()?, Account::choose()?)));
    let (binaries, account) = look.await.map_err(|error| DevError::io("look for the servers")(error.into()))??;
    if plan.redis {
        binaries.redis()?;
    }
    let guardian = Guardian::take(plan.data_dir.as_deref(), &account).await?;
    let dir = guardian.dir().to_owned();
    let authority = if plan.tls { Some(tls::write(&dir, &account)?) } else { None };
    let shared = Arc::new(Shared {
        binaries,
        account,
        dir,
        database: plan.database.clone(),
        password: plan.password.clone(),
        authority,
        durable: plan.durable,
        settings: plan.settings.clone(),
        leash: guardian.leash(),
    });
    let (nodes, redis) = try_join(start_postgres(&plan, &shared), start_redis(&plan, &shared)).await?;
    let cluster = Cluster { nodes, redis, shared, guardian, started_in: began.elapsed() };
    tracing::debug!(dir = %cluster.dir().display(), took = ?cluster.started_in, "development cluster started");
    Ok(cluster)
}

async fn start_redis(plan: &ClusterBuilder, shared: &Shared) -> Result<Option<Redis>, DevError> {
    if !plan.redis {
        return Ok(None);
    }
    let mut redis = Redis::launch(shared).await?;
    redis.proxy = proxy(plan.proxied, redis.port()).await?;
    Ok(Some(redis))
}

async fn start_postgres(plan: &ClusterBuilder, shared: &Arc<Shared>) -> Result<Vec<Node>, DevError> {
    let node = |number| {
        let upstream = (number != 0).then(|| node_name(plan.upstream(number)));
        Node::new(&node_name(number), upstream, shared)
    };
    let mut nodes: Vec<Node> = (0..=plan.replicas).map(node).collect();
    let kept = reuse::settle_leader(&nodes, shared)?;
    for node in &nodes {
        shared.account.create_dir(&shared.dir.join(node.name()))?;
    }
    if !kept {
        plan.step(Step::Initialising);
        initialise(&nodes[0], shared).await?;
    }
    let rules = nodes[0].data_dir().join("pg_hba.conf");
    shared.account.write(&rules, &access_rules(shared.password.is_some()))?;
    if !kept {
        plan.step(Step::Copying);
        try_join_all(nodes[1..].iter().map(|replica| copy(&nodes[0], replica, shared))).await?;
    }

    plan.step(Step::StartingPrimary);
    nodes[0].launch(None).await?;
    plan.step(if kept { Step::Copying } else { Step::StartingReplicas });
    let deepest = (1..=plan.replicas).map(|replica| plan.level(replica)).max().unwrap_or(0);
    for level in 1..=deepest {
        start_level(plan, &mut nodes, level, kept).await?;
    }
    create_database(&nodes[0], &shared.database).await?;
    for node in &mut nodes {
        node.proxy = proxy(plan.proxied, node.port).await?;
    }

    plan.step(Step::CatchingUp);
    let lsn = nodes[0].query_text("SELECT pg_current_wal_lsn()").await?.unwrap_or_default();
    try_join_all(nodes[1..].iter().map(async |replica| {
        replica.wait_streaming(START_PATIENCE).await?;
        replica.wait_replayed(&lsn, START_PATIENCE).await
    }))
    .await?;
    Ok(nodes)
}

fn node_name(number: usize) -> String {
    if number == 0 { "primary".to_owned() } else { format!("replica-{number}") }
}

/// Starts all replicas that are `level` hops from the primary: their upstreams run by now.
async fn start_level(plan: &ClusterBuilder, nodes: &mut [Node], level: usize, kept: bool) -> Result<(), DevError> {
    let members: Vec<usize> = (1..nodes.len()).filter(|replica| plan.level(*replica) == level).collect();
    let mut follows = vec![0; nodes.len()];
    for replica in members {
        let upstream = &nodes[plan.upstream(replica)];
        create_slot(upstream, nodes[replica].name()).await?;
        follows[replica] = upstream.port;
        if plan.proxied_replication {
            let link = proxy(true, upstream.port).await?;
            follows[replica] = link.as_ref().map_or(upstream.port, Proxy::port);
            nodes[replica].link = link;
        }
    }
    if kept {
        let leader = &nodes[0];
        let members = nodes.iter().zip(&follows).filter(|(_, follows)| **follows != 0);
        try_join_all(members.map(async |(node, _)| reuse::copy_running(leader, node, &node.data_dir()).await)).await?;
    }
    let starting = nodes.iter_mut().zip(follows).filter(|(_, follows)| *follows != 0);
    try_join_all(starting.map(|(node, follows)| node.launch(Some(follows)))).await?;
    Ok(())
}

async fn initialise(primary: &Node, shared: &Shared) -> Result<(), DevError> {
    let home = shared.dir.join(primary.name());
    let unfinished = Unfinished::begin(&primary.data_dir())?;
    let data = unfinished.path();
    let program = Program::new("initdb", shared.binaries.tool("initdb"), home.clone(), home.join("initdb.log"));
    let mut program = program.args(["-D".as_ref(), data.as_os_str()]).args([
        "--username=postgres",
        "--encoding=UTF8",
        "--no-locale",
        "--data-checksums",
        "--auth-local=trust",
    ]);
    if !shared.durable {
        program = program.args(["--no-sync"]);
    }
    let secret = home.join("initial-password");
    match &shared.password {
        Some(password) => {
            shared.account.write(&secret, &format!("{password}\n"))?;
            program = program.args(["--auth-host=scram-sha-256", "--pwfile"]).args([secret.as_os_str()]);
        }
        None => program = program.args(["--auth-host=trust"]),
    }
    program.run(&shared.account).await?;
    let _ = std::fs::remove_file(secret);
    // The same words on every node, so that pg_rewind and pg_basebackup may copy them from one to another.
    append(&data.join("postgresql.conf"), "\ninclude '../node.conf'\n")?;
    unfinished.finish()
}

fn append(file: &Path, text: &str) -> Result<(), DevError> {
    let append = || std::io::Write::write_all(&mut std::fs::File::options().append(true).open(file)?, text.as_bytes());
    append().map_err(DevError::io(format!("write {}", file.display())))
}

async fn copy(from: &Node, to: &Node, shared: &Shared) -> Result<(), DevError> {
    let unfinished = Unfinished::begin(&to.data_dir())?;
    let to_make = unfinished.path().to_owned();
    tree::copy(from.data_dir(), to_make, shared.account.clone(), shared.leash.upgrade()).await?;
    shared.account.write(&unfinished.path().join("standby.signal"), "")?;
    unfinished.finish()
}

async fn create_slot(upstream: &Node, replica: &str) -> Result<(), DevError> {
    let slot = sql_literal(&slot_name(replica));
    // Reserved at once: no WAL is thrown away before the replica comes for it.
    let create = format!(
        "SELECT pg_create_physical_replication_slot({slot}, true) \
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {slot})"
    );
    upstream.text("postgres", &create).await.map(|_| ())
}

async fn create_database(primary: &Node, name: &str) -> Result<(), DevError> {
    let exists = format!("SELECT 1 FROM pg_database WHERE datname = {}", sql_literal(name));
    if primary.text("postgres", &exists).await?.is_none() {
        primary.rows("postgres", &format!("CREATE DATABASE {}", identifier(name))).await?;
    }
    Ok(())
}

async fn proxy(wanted: bool, port: u16) -> Result<Option<Proxy>, DevError> {
    if !wanted {
        return Ok(None);
    }
    Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.map(Some)
}

/// How long a change on the primary may take to reach healthy replicas before one stops waiting for it.
pub(super) const REPLICATION_PATIENCE: Duration = Duration::from_secs(5);
