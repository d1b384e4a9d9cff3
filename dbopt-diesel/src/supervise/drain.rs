//! A primary that was closed to writes: what it had begun comes to its end.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Error;
use super::link::{APPLICATION, Link};

/// How long transactions that run may take to their end: new writes wait meanwhile.
const DRAIN: Duration = Duration::from_secs(1);
const STATEMENT: Duration = Duration::from_secs(5);

/// Lets transactions end that began before the primary was closed, for a while.
pub(super) async fn drain(link: &Link) -> Result<(), Error> {
    // A session hears of the setting with the signal that follows it; what it begins meanwhile may write, too.
    let closed = link.run("SELECT clock_timestamp() + interval '100 ms'", STATEMENT, "its time").await?;
    let closed = closed.unwrap_or_default();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
         AND application_name <> '{APPLICATION}' AND xact_start IS NOT NULL \
         AND (backend_xid IS NOT NULL OR xact_start < '{closed}' OR clock_timestamp() < '{closed}')"
    );
    let give_up = Instant::now() + DRAIN;
    while link.run(&sql, STATEMENT, "its transactions").await?.as_deref() != Some("0") {
        if Instant::now() > give_up {
            tracing::warn!(node = &*link.name, "transactions that take longer than {DRAIN:?} end with their sessions");
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
