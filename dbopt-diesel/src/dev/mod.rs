//! A development and test cluster on this machine, without Docker: one primary, streaming replicas and Redis, running
//! a second or two after you ask, and gone with the process that asked.
//!
//! ```no_run
//! use std::time::Duration;
//! use dbopt_diesel::dev::{Cluster, DevError, Shutdown};
//!
//! # async fn example() -> Result<(), DevError> {
//! let cluster = Cluster::builder().replicas(2).proxied(true).start().await?;
//! println!("{} and {:?}", cluster.primary().url(), cluster.redis().map(|redis| redis.url()));
//!
//! cluster.primary().execute("CREATE TABLE flights (id bigint PRIMARY KEY)").await?;
//! cluster.wait_caught_up(Duration::from_secs(5)).await?;
//!
//! cluster.replica(1).delay_replay(Duration::from_secs(3)).await?;   // it answers, with old rows
//! cluster.replica(2).freeze().await?;                               // it accepts connections and says nothing
//! if let Some(proxy) = cluster.primary().proxy() {
//!     proxy.blackhole();                                            // bytes vanish on the way
//!     proxy.heal();
//! }
//! cluster.primary().kill().await?;                                  // a power cut
//! cluster.primary().start().await?;
//! cluster.replica(2).thaw().await?;
//! cluster.replica(2).stop(Shutdown::Fast).await?;
//!
//! cluster.stop().await                                              // or drop it, or panic, or be killed
//! # }
//! ```
//!
//! # What it needs
//! PostgreSQL 13 or newer and, unless you do without, Redis or Valkey. [`Binaries::find`] looks for them in
//! `$DBOPT_PG_BIN` and `$DBOPT_REDIS_SERVER`, in `PATH` and where Debian, Red Hat, Homebrew and Postgres.app put them;
//! an error says what to install. As root the servers run as user `postgres`, or else `nobody`.
//!
//! # What it promises
//! * Everything listens on 127.0.0.1 only, on free ports below 32768, and keeps its port over kills and restarts.
//! * It is ready in a second on a quiet machine. Most of that is `initdb` and the making of some thousand files, so a busy
//!   disk shows: `TMPDIR=/dev/shm` puts the temporary folder into memory, good for a test run with many clusters.
//! * Data is disposable: `fsync` is off (`durable(true)` turns it on) and a temporary folder goes with the cluster. All
//!   else is as failover and resynchronisation need it: checksums, `wal_log_hints`, a slot per replica, short timeouts.
//! * Nothing outlives its owner. A small `/bin/sh` process of the cluster's own reads a pipe that only the owner holds
//!   open; when the owner drops the cluster, panics, is killed or aborts, it ends every server, frozen ones too, and
//!   removes the folder. It knows them by what they hold open, so a reused process number never hits a stranger.
//!   Should that process be killed as well, the next cluster on this machine clears up after both.

mod account;
#[cfg(feature = "supervise")]
mod agent;
mod builder;
mod cluster;
mod conf;
mod error;
mod family;
pub mod find;
mod guardian;
mod launch;
mod node;
mod ports;
mod process;
mod proxy;
mod redis;
mod reuse;
mod server;
mod sql;
mod tls;
mod tree;

#[cfg(feature = "supervise")]
pub use agent::LocalAgent;
pub use builder::{ClusterBuilder, Step};
pub use cluster::Cluster;
pub use error::DevError;
pub use find::Binaries;
pub use node::{Node, Shutdown};
pub use proxy::Proxy;
pub use redis::Redis;
