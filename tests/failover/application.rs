//! An application under the fault: what each of its calls was told, and by whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use dbopt_diesel::core::position::Position;
use dbopt_diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Integer};
use diesel::{QueryResult, QueryableByName};
use diesel_async::RunQueryDsl;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Its table.
pub(super) const SCHEMA: &str = "CREATE TABLE calls (id bigint PRIMARY KEY)";

/// Writers, and half as many readers.
const WRITERS: usize = 16;
/// Between two calls of one caller.
const PAUSE: Duration = Duration::from_millis(20);

/// Who served a call.
#[derive(Debug, Clone, QueryableByName)]
pub(super) struct Server {
    #[diesel(sql_type = Integer)]
    pub(super) port: i32,
    /// Whether it was a replica.
    #[diesel(sql_type = Bool)]
    pub(super) replica: bool,
    /// When the session began, by the clock that all servers here share.
    #[diesel(sql_type = Double)]
    pub(super) session: f64,
}

#[derive(Clone, Debug)]
struct Repository {
    db: Db,
}

#[repository]
impl Repository {
    #[write]
    async fn write(&self, conn: &mut Conn, id: i64) -> QueryResult<Server> {
        let sql = "INSERT INTO calls VALUES ($1) RETURNING inet_server_port() AS port, false AS replica, \
                   (SELECT extract(epoch FROM backend_start)::float8 FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS session";
        diesel::sql_query(sql).bind::<BigInt, _>(id).get_result(conn).await
    }

    #[read]
    async fn read(&self, conn: &mut Conn) -> QueryResult<Server> {
        let sql = "SELECT inet_server_port() AS port, pg_is_in_recovery() AS replica, extract(epoch FROM backend_start)::float8 AS session \
                   FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        diesel::sql_query(sql).get_result(conn).await
    }
}

/// A call that was answered.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) at: Instant,
    pub(super) by: Server,
    /// Of a write, its number, and where it stands in the log.
    pub(super) wrote: Option<(i64, Option<Position>)>,
}

/// Callers at work.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) db: Db,
    history: Arc<Mutex<Vec<Served>>>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Application {
    /// Its writes begin with the number `first`.
    pub(super) fn start(db: Db, first: i64) -> Application {
        let (history, failed) = (Arc::<Mutex<Vec<Served>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (stop, next) = (Arc::<AtomicBool>::default(), Arc::new(AtomicI64::new(first)));
        let mut callers = JoinSet::new();
        for caller in 0..WRITERS + WRITERS / 2 {
            let (repository, next) = (Repository { db: db.clone() }, next.clone());
            let (history, failed, stop) = (history.clone(), failed.clone(), stop.clone());
            callers.spawn(async move {
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    let (result, wrote) = if caller < WRITERS {
                        let (id, context) = (next.fetch_add(1, Ordering::Relaxed), Context::anonymous());
                        let result = context.clone().scope(repository.write(id)).await;
                        (result, Some((id, context.latest_token())))
                    } else {
                        (repository.read().await, None)
                    };
                    match result {
                        Ok(by) => history.lock().push(Served { at: Instant::now(), by, wrote }),
                        Err(error) => failed.lock().push(error.to_string()),
                    }
                    sleep(PAUSE).await;
                }
            });
        }
        Application { db, history, failed, stop, callers }
    }

    /// How many connections its pools have to this node.
    pub(super) fn connections(&self, node: &str) -> usize {
        let nodes = self.db.status().nodes;
        nodes.iter().filter(|n| &*n.name == node).flat_map(|n| &n.pools).map(|pool| pool.open).sum()
    }

    /// Who is the primary, as it knows.
    pub(super) fn primary(&self) -> Option<String> {
        self.db.status().primary.map(|name| name.to_string())
    }

    /// Ends its callers: the calls that were answered, and those that failed.
    pub(super) async fn stop(&mut self) -> (Vec<Served>, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        while self.callers.join_next().await.is_some() {}
        (self.history.lock().clone(), self.failed.lock().clone())
    }
}
