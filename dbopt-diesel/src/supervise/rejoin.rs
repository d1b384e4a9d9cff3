//! What makes a server a replica again, in this order, whoever does it on its machine.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::agent::{AgentError, Rejoin, Way};

/// How long a node that was started may take until it streams, before the next means is tried.
const STREAMING: Duration = Duration::from_secs(15);
/// How long it has to go on streaming: one that follows the wrong history shows it for an instant, too.
const PROOF: Duration = Duration::from_millis(1200);

/// Why it could not be done.
type Done = Result<(), AgentError>;

/// What can be done on a server's machine.
pub(crate) trait Hands: Sync {
    /// Where its data is.
    fn data(&self) -> PathBuf;

    /// Whether it runs and is no replica; yes if that cannot be told.
    fn is_promoted(&self) -> impl Future<Output = bool> + Send;

    /// Whether the order's leader is a primary.
    fn leads(&self) -> impl Future<Output = Result<bool, AgentError>> + Send;

    /// Ends it, in order if that is possible soon. Nothing to do when it is down.
    fn stop(&self) -> impl Future<Output = Done> + Send;

    /// Starts it, and waits until it accepts connections.
    fn start(&self) -> impl Future<Output = Done> + Send;

    /// Waits until it streams.
    fn streams(&self, patience: Duration) -> impl Future<Output = Done> + Send;

    /// Has the leader write down on which timeline it is: before PostgreSQL 16 `pg_rewind` finds it nowhere else.
    fn checkpoint(&self) -> impl Future<Output = Done> + Send;

    /// Takes back what its data has and the leader's has not.
    fn rewind(&self) -> impl Future<Output = Done> + Send;

    /// Copies the leader's data into a folder that is not there.
    fn copy(&self, to: &Path) -> impl Future<Output = Done> + Send;

    /// Writes a file that belongs to it.
    fn write(&self, path: &Path, text: &str) -> Done;
}

/// Makes the server of `hands` a replica as `order` says.
pub(crate) async fn bring_back(hands: &impl Hands, order: &Rejoin) -> Result<Way, AgentError> {
    if !hands.leads().await? {
        return Err(format!("{} is no primary", order.leader).into());
    }
    let data = hands.data();
    let there = data.join("PG_VERSION").exists();
    if there {
        hands.stop().await?;
    }
    if there && !order.fell_behind {
        if data.join("standby.signal").exists() && begin(hands, order).await.is_ok() {
            return Ok(Way::Restarted);
        }
        still_wanted(hands, order).await?;
        hands.stop().await?;
        if let Err(error) = hands.checkpoint().await {
            tracing::warn!(node = &*order.node, %error, "the leader makes no checkpoint; the coordinator made one, or a copy will be needed");
        }
        match hands.rewind().await {
            Ok(()) => match begin(hands, order).await {
                Ok(()) => return Ok(Way::Rewound),
                Err(error) => tracing::warn!(node = &*order.node, %error, "it was rewound and does not stream"),
            },
            Err(error) => tracing::warn!(node = &*order.node, %error, "it could not be rewound"),
        }
    }
    still_wanted(hands, order).await?;
    tracing::warn!(node = &*order.node, "it is copied anew");
    copy(hands, order).await?;
    Ok(Way::Copied)
}

/// What is there may be all that there is, should the primary be lost meanwhile: it is kept until the copy streams.
async fn copy(hands: &impl Hands, order: &Rejoin) -> Done {
    let data = hands.data();
    let beside = |suffix: &str| {
        let mut name = data.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        data.with_file_name(name)
    };
    let (new, kept) = (beside(".copy"), beside(".before"));
    remove(&new).await?;
    if let Err(error) = hands.copy(&new).await {
        remove(&new).await?;
        if data.exists()
            && let Err(error) = begin(hands, order).await
        {
            tracing::warn!(node = &*order.node, %error, "it was started again as it was");
        }
        return Err(error);
    }
    // A whole copy of a primary has taken its place, if it is there.
    remove(&kept).await?;
    if data.exists() {
        hands.stop().await?;
        rename(&data, &kept)?;
    }
    rename(&new, &data)?;
    if let Err(error) = begin(hands, order).await {
        if kept.exists() && hands.stop().await.is_ok() {
            remove(&data).await?;
            rename(&kept, &data)?;
        }
        return Err(error);
    }
    remove(&kept).await
}

fn rename(from: &Path, to: &Path) -> Done {
    std::fs::rename(from, to).map_err(|error| format!("rename {} to {}: {error}", from.display(), to.display()).into())
}

/// Writes whom it follows, after everything that brings the other server's settings, and starts it.
async fn begin(hands: &impl Hands, order: &Rejoin) -> Done {
    let data = hands.data();
    let settings =
        format!("primary_conninfo = {}\nprimary_slot_name = {}\n", literal(&order.conninfo), literal(&order.slot));
    hands.write(&data.join("postgresql.auto.conf"), &settings)?;
    hands.write(&data.join("standby.signal"), "")?;
    // Slots of its days as a primary would hold log for nobody.
    for slot in std::fs::read_dir(data.join("pg_replslot")).into_iter().flatten().flatten() {
        std::fs::remove_dir_all(slot.path()).map_err(|error| format!("remove an old slot: {error}"))?;
    }
    hands.start().await?;
    hands.streams(STREAMING).await?;
    sleep(PROOF).await;
    hands.streams(PROOF).await
}

/// Somebody else may have been at work since: nothing is done to a primary, nor by the side of one that is lost.
async fn still_wanted(hands: &impl Hands, order: &Rejoin) -> Done {
    if hands.is_promoted().await || !hands.leads().await? {
        return Err(format!("{} is left as it is: the primary changed meanwhile", order.node).into());
    }
    Ok(())
}

async fn remove(dir: &Path) -> Done {
    let owned = dir.to_owned();
    let removed =
        tokio::task::spawn_blocking(move || if owned.exists() { std::fs::remove_dir_all(owned) } else { Ok(()) });
    let removed = removed.await.map_err(std::io::Error::other).and_then(std::convert::identity);
    removed.map_err(|error| format!("remove {}: {error}", dir.display()).into())
}

/// A value as configuration files have it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
