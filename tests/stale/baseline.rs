//! What many services do: cache-aside. Memory, then Redis, then a replica in turn; after a commit, DEL.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use moka::future::Cache;
use redis::AsyncTypedCommands;
use redis::aio::ConnectionManager;
use tokio_postgres::{Client, NoTls};

use super::history::Method;

/// How often the database was read.
pub(crate) static LOADS: AtomicU64 = AtomicU64::new(0);

/// Registers behind a plain cache-aside.
pub(crate) struct Plain {
    primary: Client,
    replicas: Vec<Client>,
    turn: AtomicUsize,
    memory: Cache<i64, i64>,
    redis: ConnectionManager,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Plain {
    /// `nodes`: the primary first.
    pub(crate) async fn connect(nodes: &[String], redis: &str) -> Result<Plain, Failure> {
        let mut clients = Vec::new();
        for url in nodes {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            clients.push(client);
        }
        let replicas = clients.split_off(1);
        let primary = clients.pop().ok_or("no primary")?;
        let memory = Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(60)).build();
        let redis = ConnectionManager::new(redis::Client::open(redis)?).await?;
        Ok(Plain { primary, replicas, turn: AtomicUsize::new(0), memory, redis })
    }

    pub(crate) async fn run(&self, method: Method, id: i64) -> Result<i64, Failure> {
        if method.is_read() { self.read(id).await } else { self.write(id).await }
    }

    async fn read(&self, id: i64) -> Result<i64, Failure> {
        if let Some(version) = self.memory.get(&id).await {
            return Ok(version);
        }
        let (mut redis, name) = (self.redis.clone(), format!("register:{id}"));
        let known = redis.get_int(&name).await.unwrap_or_default();
        let version = match known {
            Some(version) => version as i64,
            None => {
                LOADS.fetch_add(1, Relaxed);
                let replica = &self.replicas[self.turn.fetch_add(1, Relaxed) % self.replicas.len()];
                let version = replica.query_one("SELECT version FROM registers WHERE id = $1", &[&id]).await?.get(0);
                let _ = redis.set_ex(&name, version, 300).await;
                version
            }
        };
        self.memory.insert(id, version).await;
        Ok(version)
    }

    async fn write(&self, id: i64) -> Result<i64, Failure> {
        let sql = "UPDATE registers SET version = version + 1 WHERE id = $1 RETURNING version";
        let version = self.primary.query_one(sql, &[&id]).await?.get(0);
        self.memory.invalidate(&id).await;
        let _ = self.redis.clone().del(format!("register:{id}")).await;
        Ok(version)
    }
}
