//! How every server of the recorded cluster is, asked at this moment.

use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::state::{NodeState, RedisState, State};

/// A server that takes longer does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// One row: whether in recovery, timeline, position, the state of its WAL receiver.
/// The timeline from the WAL itself: pg_control's is old for minutes after a promotion.
const LOOK: &str = "SELECT pg_is_in_recovery()::text, \
    CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli::text FROM pg_stat_wal_receiver) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text END, \
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text, \
    (SELECT status FROM pg_stat_wal_receiver)";

#[derive(Debug, Serialize)]
pub(super) struct Report {
    running: bool,
    pub(super) owner: u32,
    pub(super) database: String,
    pub(super) nodes: Vec<NodeReport>,
    pub(super) redis: Option<RedisReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) name: String,
    /// `primary`, `replica`, or unknown.
    pub(super) role: Option<&'static str>,
    pub(super) upstream: Option<String>,
    pub(super) port: u16,
    pub(super) url: String,
    pub(super) answers: bool,
    /// `streaming`, what else the WAL receiver does, or why there is no answer.
    pub(super) state: String,
    pub(super) timeline: Option<u32>,
    pub(super) lsn: Option<String>,
    /// Bytes behind the primary; unknown without a primary.
    pub(super) lag_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct RedisReport {
    pub(super) port: u16,
    pub(super) url: String,
    pub(super) answers: bool,
}

impl Report {
    fn new(state: &State, nodes: Vec<NodeReport>, redis_answers: bool) -> Self {
        let redis = state.redis.as_ref();
        let redis = redis.map(|redis| RedisReport { port: redis.port, url: redis.url.clone(), answers: redis_answers });
        Self { running: true, owner: state.owner, database: state.database.clone(), nodes, redis }
    }
}

impl NodeReport {
    fn unknown(node: &NodeState) -> Self {
        Self {
            name: node.name.clone(),
            role: None,
            upstream: node.upstream.clone(),
            port: node.port,
            url: node.url.clone(),
            answers: false,
            state: String::new(),
            timeline: None,
            lsn: None,
            lag_bytes: None,
        }
    }
}

pub(super) async fn look(state: &State) -> Report {
    let nodes = futures_util::future::join_all(state.nodes.iter().map(look_at));
    let redis = async {
        match &state.redis {
            Some(redis) => timeout(PATIENCE, ping(redis)).await.is_ok_and(|answer| answer.is_ok()),
            None => false,
        }
    };
    let (mut nodes, redis) = tokio::join!(nodes, redis);
    let primary = nodes.iter().filter(|node| node.role == Some("primary")).max_by_key(|node| node.timeline);
    let head = primary.and_then(|node| parse_lsn(node.lsn.as_deref()?));
    for node in nodes.iter_mut().filter(|node| node.role == Some("replica")) {
        let position = node.lsn.as_deref().and_then(parse_lsn);
        node.lag_bytes = head.zip(position).map(|(head, position)| head.saturating_sub(position));
    }
    Report::new(state, nodes, redis)
}

async fn look_at(node: &NodeState) -> NodeReport {
    let mut report = NodeReport::unknown(node);
    match timeout(PATIENCE, ask(&node.direct_url)).await {
        Ok(Ok([recovery, timeline, lsn, receiver])) => {
            let replica = recovery.as_deref() == Some("true");
            report.answers = true;
            report.role = Some(if replica { "replica" } else { "primary" });
            report.timeline = timeline.and_then(|timeline| timeline.parse().ok());
            report.lsn = lsn;
            report.state = match (replica, receiver) {
                (false, _) => "ready".to_owned(),
                (true, Some(receiver)) => receiver,
                (true, None) => "not receiving".to_owned(),
            };
        }
        Ok(Err(error)) => report.state = describe(&error),
        Err(_) => report.state = "no answer".to_owned(),
    }
    report
}

async fn ask(url: &str) -> Result<[Option<String>; 4], tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let rows = client.simple_query(LOOK).await;
    drop(client);
    let _ = connection.await;
    let row = rows?.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(std::array::from_fn(|column| row.as_ref().and_then(|row| row.get(column)).map(str::to_owned)))
}

fn describe(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    error
        .as_db_error()
        .map(|db| db.message().to_owned())
        .or_else(|| error.source().map(ToString::to_string))
        .unwrap_or_else(|| error.to_string())
}

async fn ping(redis: &RedisState) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).await?;
    stream.write_all(b"PING\r\n").await?;
    stream.read_exact(&mut [0; 5]).await.map(|_| ())
}

/// `0/3000148`: two halves in hexadecimal.
fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_lsn;

    #[test]
    fn a_position_is_64_bits_in_two_halves() {
        assert_eq!(parse_lsn("0/3000148"), Some(0x0300_0148));
        assert_eq!(parse_lsn("16/B374D848"), Some(0x16_B374_D848));
        assert_eq!(parse_lsn("nonsense"), None);
    }
}
