//! One migrator at a time: a lock of the session, which is asked for again and again and never waited for inside a transaction.
//!
//! `CREATE INDEX CONCURRENTLY` waits for every transaction that is older than itself. A second instance that waited for the lock in a
//! statement would be such a transaction, and each would wait for the other.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::error::{Doing, Error};
use super::target::one;

/// Both halves of the lock's number: "dbop", "tmig".
const HALVES: (u32, u32) = (0x6462_6f70, 0x746d_6967);

fn number() -> i64 {
    (u64::from(HALVES.0) << 32 | u64::from(HALVES.1)).cast_signed()
}

/// Takes the lock, telling `waiting` once who has it.
pub(super) async fn take(client: &Client, patience: Duration, waiting: impl Fn(&str)) -> Result<(), Error> {
    let (begun, mut pause, mut told) = (Instant::now(), Duration::from_millis(50), false);
    loop {
        let sql = format!("SELECT pg_try_advisory_lock({})", number());
        if one(client, &sql).await.doing("take the lock")?.as_deref() == Some("t") {
            return Ok(());
        }
        let holder = holder(client).await?;
        if begun.elapsed() >= patience {
            return Err(Error::Busy { waited: begun.elapsed(), holder });
        }
        if !told {
            waiting(&holder);
            told = true;
        }
        // Instances that started together should not ask together.
        let jitter = Duration::from_millis(RandomState::new().build_hasher().finish() % 37);
        sleep((pause + jitter).min(patience.saturating_sub(begun.elapsed()).max(Duration::from_millis(1)))).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn holder(client: &Client) -> Result<String, Error> {
    let sql = format!(
        "SELECT format('process %s, %s', a.pid, coalesce(nullif(left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60), ''), a.state)) \
         FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE {}",
        condition()
    );
    let holder = one(client, &sql).await.doing("see who holds the lock")?;
    Ok(holder.unwrap_or_else(|| "it has just gone".to_owned()))
}

fn condition() -> String {
    format!(
        "l.locktype = 'advisory' AND l.granted AND l.classid = {} AND l.objid = {} AND l.objsubid = 1 \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        HALVES.0, HALVES.1
    )
}

/// Whether this very session still has it: a pooler in transaction mode may have given us another one.
pub(super) async fn is_ours(client: &Client) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND {})", condition());
    Ok(one(client, &sql).await.doing("check the lock")?.as_deref() == Some("t"))
}

/// Gives it back; the end of the session does so, too.
pub(super) async fn give_back(client: &Client) {
    let sql = format!("SELECT pg_advisory_unlock({})", number());
    drop(one(client, &sql).await);
}
