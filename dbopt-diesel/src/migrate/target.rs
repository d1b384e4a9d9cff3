//! The primary, as its nodes tell it: migrations run there and nowhere else.

use std::time::Duration;

use dbopt_core::backend::Role;
use dbopt_core::position::{Lsn, Position};
use dbopt_core::runtime::Config;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_postgres::SimpleQueryMessage;

use super::error::{Doing, Error};
use crate::connect::{Session, session};

/// The name of our sessions in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "dbopt migrate";

/// The servers of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Names and URLs.
    nodes: Vec<(String, String)>,
    /// The one that is known to be the primary; nobody knows: all are asked.
    primary: Option<String>,
}

impl Target {
    pub(super) fn of(config: &Config, primary: Option<&str>) -> Result<Target, Error> {
        let nodes = config.named_nodes()?;
        let nodes = nodes.into_iter().map(|node| (node.name, node.url.expose().to_owned())).collect();
        Ok(Target { nodes, primary: primary.map(str::to_owned) })
    }

    /// The URL of the primary.
    pub(super) async fn primary_url(&self) -> Result<String, Error> {
        let primary = self.primary().await?;
        for (_, url) in &self.nodes {
            if let Ok(other) = session(url, APPLICATION).await
                && other.place == primary.place
            {
                return Ok(url.clone());
            }
        }
        Err(Error::NoPrimary(format!("{} does not answer any more", primary.place)))
    }

    /// A session on the primary: of those that are not in recovery, the one with the highest timeline.
    pub(super) async fn primary(&self) -> Result<Session, Error> {
        let wanted = self.nodes.iter().filter(|(name, _)| self.primary.as_ref().is_none_or(|primary| primary == name));
        let answers = join_all(wanted.map(|(_, url)| session(url, APPLICATION))).await;
        let mut causes = Vec::new();
        let mut found: Option<Session> = None;
        for answer in answers {
            match answer {
                Err(error) => causes.push(error.to_string()),
                Ok(other) if other.report.role == Role::Replica => causes.push(format!("{} is a standby", other.place)),
                Ok(other) => match &found {
                    Some(known) if known.report.timeline == other.report.timeline => {
                        let what = format!("{} and {} both say they are it", known.place, other.place);
                        return Err(Error::NoPrimary(what));
                    }
                    Some(known) if known.report.timeline > other.report.timeline => {}
                    _ => found = Some(other),
                },
            }
        }
        found.ok_or_else(|| Error::NoPrimary(causes.join("; ")))
    }

    /// Waits until every other server has replayed the log up to `position`; names those that have not after `patience`.
    pub(super) async fn wait_for_replicas(
        &self,
        primary: &Session,
        position: Position,
        patience: Duration,
    ) -> Vec<String> {
        let give_up = Instant::now() + patience;
        let others = self.nodes.iter().map(async |(name, url)| {
            let mut why = "no answer".to_owned();
            while Instant::now() < give_up {
                match session(url, APPLICATION).await {
                    Ok(other) if other.report.role == Role::Primary && other.place == primary.place => return None,
                    Ok(other) => match replayed(&other, position, give_up).await {
                        Ok(()) => return None,
                        Err(late) => why = late,
                    },
                    Err(error) => why = error.to_string(),
                }
                sleep(Duration::from_millis(200)).await;
            }
            Some(format!("{name}: {why}"))
        });
        join_all(others).await.into_iter().flatten().collect()
    }
}

async fn replayed(replica: &Session, wanted: Position, give_up: Instant) -> Result<(), String> {
    loop {
        let sql = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint";
        let lsn = one(&replica.client, sql).await.map_err(|error| error.to_string())?;
        let lsn = Lsn(lsn.and_then(|text| text.parse().ok()).unwrap_or(0));
        if lsn >= wanted.lsn {
            return Ok(());
        }
        if Instant::now() >= give_up {
            return Err(format!("it has replayed up to {lsn}, the migrations end at {}", wanted.lsn));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Where the primary's log ends.
pub(super) async fn log_end(session: &Session) -> Result<Position, Error> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    let lsn = one(&session.client, sql).await.doing("read the position of the log")?;
    let lsn = Lsn(lsn.and_then(|text| text.parse().ok()).unwrap_or(0));
    Ok(Position { timeline: session.report.timeline.unwrap_or(0), lsn })
}

/// The first value of the first row, as text.
pub(super) async fn one(client: &tokio_postgres::Client, sql: &str) -> Result<Option<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
