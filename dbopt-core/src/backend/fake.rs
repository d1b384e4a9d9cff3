//! A cluster in memory whose nodes can be made to fail, for tests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Backend, ConnectError, Connection, Endpoint, Fault, FaultKind, Health, NodeReport, Purpose, Role, ServerMark,
};
use crate::error::Reason;
use crate::op::Lane;
use crate::position::{Lsn, Position};

/// A cluster in memory. Its nodes are named by the host of their URL: `fake://primary`.
#[derive(Clone, Default)]
pub struct FakeCluster {
    nodes: Arc<Mutex<HashMap<String, Arc<FakeNode>>>>,
}

/// A node of a [`FakeCluster`].
pub struct FakeNode {
    /// What it says of itself.
    pub report: Mutex<NodeReport>,
    /// Why it takes no connection, if it does not.
    pub refuses: Mutex<Option<ConnectError>>,
    /// How long connecting takes.
    pub connect_delay: Mutex<Duration>,
    /// How long recovering a busy connection takes; `None` when it cannot be recovered.
    pub recovery: Mutex<Option<Duration>>,
    /// How long a COMMIT takes.
    pub commit_delay: Mutex<Duration>,
    /// What the next COMMIT waits for besides.
    pub commit_waits: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Whether connecting and recovering panic, as a driver with a bug does.
    pub panics: AtomicBool,
    /// How often it has died: connections of an earlier life are closed.
    pub deaths: AtomicUsize,
    /// When it was asked about itself.
    pub reports: Mutex<Vec<Instant>>,
    /// When each attempt to connect began.
    pub attempts: Mutex<Vec<Instant>>,
    /// Attempts that are under way.
    pub connecting: AtomicUsize,
    /// The most attempts that were under way at once.
    pub most_connecting: AtomicUsize,
    /// Connections that are open now.
    pub open: AtomicUsize,
    /// Connections that were ever opened.
    pub opened: AtomicUsize,
    /// Connections that calls of each lane have open.
    pub open_by_lane: [AtomicUsize; 3],
    /// The most connections that were open at once.
    pub most_open: AtomicUsize,
    lsn: AtomicU64,
}

impl FakeCluster {
    /// A node called `name`; the first one asked for is the primary.
    pub fn node(&self, name: &str) -> Arc<FakeNode> {
        let mut nodes = self.nodes.lock();
        let role = if nodes.is_empty() { Role::Primary } else { Role::Replica };
        let server = ServerMark { started: nodes.len() as i64, port: 5432 };
        nodes
            .entry(name.to_owned())
            .or_insert_with(|| {
                Arc::new(FakeNode {
                    report: Mutex::new(NodeReport {
                        role,
                        system_identifier: 1,
                        timeline: Some(1),
                        lsn: Lsn(100),
                        streaming: (role == Role::Replica).then_some(true),
                        read_only: false,
                        paused: false,
                        upstream: None,
                        forked_at: None,
                        server,
                    }),
                    refuses: Mutex::default(),
                    connect_delay: Mutex::new(Duration::ZERO),
                    recovery: Mutex::new(Some(Duration::ZERO)),
                    commit_delay: Mutex::default(),
                    commit_waits: Mutex::default(),
                    panics: AtomicBool::new(false),
                    deaths: AtomicUsize::new(0),
                    reports: Mutex::default(),
                    attempts: Mutex::default(),
                    connecting: AtomicUsize::new(0),
                    most_connecting: AtomicUsize::new(0),
                    open: AtomicUsize::new(0),
                    opened: AtomicUsize::new(0),
                    open_by_lane: Default::default(),
                    most_open: AtomicUsize::new(0),
                    lsn: AtomicU64::new(100),
                })
            })
            .clone()
    }
}

/// A connection to a [`FakeNode`].
pub struct FakeConnection {
    /// What [`Connection::health`] says.
    pub health: Health,
    /// What [`Connection::fault`] says.
    pub fault: Option<Fault>,
    /// Which connection of its node it is, counted from 0.
    pub number: usize,
    node: Arc<FakeNode>,
    lane: Option<Lane>,
    life: usize,
}

impl FakeConnection {
    /// Where it leads.
    pub fn node(&self) -> &Arc<FakeNode> {
        &self.node
    }
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        self.node.open.fetch_sub(1, Ordering::SeqCst);
        if let Some(lane) = self.lane {
            self.node.open_by_lane[lane.index()].fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Backend for FakeCluster {
    type Connection = FakeConnection;
    type Error = crate::Error;

    fn check(&self, url: &str) -> Result<(), String> {
        match url.strip_prefix("fake://") {
            Some(_) => Ok(()),
            None => Err("it does not begin with fake://".into()),
        }
    }

    fn place(&self, url: &str) -> Option<(String, u16)> {
        let (host, port) = url.strip_prefix("fake://")?.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    }

    async fn connect(&self, endpoint: &Endpoint, purpose: Purpose) -> Result<FakeConnection, ConnectError> {
        let node = match endpoint.address {
            Some(address) => self.node(&address.to_string()),
            None => self.node(endpoint.url.trim_start_matches("fake://")),
        };
        let _under_way = UnderWay::begin(&node);
        node.panic_if_told();
        let delay = *node.connect_delay.lock();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if let Some(error) = node.refuses.lock().clone() {
            return Err(error);
        }
        let lane = match purpose {
            Purpose::Lane(lane) => Some(lane),
            Purpose::Probe | Purpose::Analysis => None,
        };
        if let Some(lane) = lane {
            node.open_by_lane[lane.index()].fetch_add(1, Ordering::SeqCst);
        }
        let now_open = node.open.fetch_add(1, Ordering::SeqCst) + 1;
        node.most_open.fetch_max(now_open, Ordering::SeqCst);
        let number = node.opened.fetch_add(1, Ordering::SeqCst);
        Ok(FakeConnection {
            health: Health::Clean,
            fault: None,
            number,
            life: node.deaths.load(Ordering::SeqCst),
            node,
            lane,
        })
    }
}

/// An attempt to connect, for as long as it takes.
struct UnderWay(Arc<FakeNode>);

impl UnderWay {
    fn begin(node: &Arc<FakeNode>) -> Self {
        node.attempts.lock().push(Instant::now());
        let now = node.connecting.fetch_add(1, Ordering::SeqCst) + 1;
        node.most_connecting.fetch_max(now, Ordering::SeqCst);
        UnderWay(node.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeNode {
    /// Closes its connections and makes it refuse new ones, as a dead server does.
    pub fn kill(&self) {
        self.deaths.fetch_add(1, Ordering::SeqCst);
        *self.refuses.lock() = Some(ConnectError::new(Reason::Refused, "connection refused"));
    }

    /// Makes it the primary of timeline `timeline`, which leaves the one before at `fork`.
    pub fn promote(&self, timeline: u32, fork: u64) {
        self.lsn.store(fork, Ordering::SeqCst);
        let mut report = self.report.lock();
        (report.role, report.timeline, report.streaming) = (Role::Primary, Some(timeline), None);
        (report.forked_at, report.lsn) = (Some(Lsn(fork)), Lsn(fork));
    }

    /// Makes it take connections again.
    pub fn revive(&self) {
        *self.refuses.lock() = None;
    }

    /// Without the panic hook, which would fill a test's output.
    fn panic_if_told(&self) {
        if self.panics.load(Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("the fake driver panics, as it was told to"));
        }
    }

    fn position(&self) -> Position {
        let report = self.report.lock();
        Position { timeline: report.timeline.unwrap_or(1), lsn: report.lsn }
    }
}

impl Connection for FakeConnection {
    fn health(&mut self) -> Health {
        if self.life != self.node.deaths.load(Ordering::SeqCst) {
            self.health = Health::Closed;
        }
        self.health
    }

    fn begin_call(&mut self, _: bool) {
        self.fault = None;
    }

    fn fault(&mut self) -> Option<Fault> {
        self.fault.clone()
    }

    fn committed_at(&mut self) -> Option<Position> {
        None
    }

    fn take_invalidations(&mut self) -> Vec<String> {
        Vec::new()
    }

    async fn set_read_only(&mut self, _: bool) -> Result<(), Fault> {
        Ok(())
    }

    async fn begin(&mut self) -> Result<(), Fault> {
        if self.node.refuses.lock().is_some() {
            self.health = Health::Closed;
            return Err(Fault::lost("connection lost"));
        }
        self.health = Health::InTransaction;
        Ok(())
    }

    fn refuses_writes(&self) -> bool {
        self.node.report.lock().read_only
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        if let Some(fault) = self.fault.clone().filter(|f| f.kind == FaultKind::RolledBack) {
            return Err(fault);
        }
        let delay = *self.node.commit_delay.lock();
        if !delay.is_zero() {
            self.health = Health::Busy;
            sleep(delay).await;
        }
        let waits = self.node.commit_waits.lock().take();
        if let Some(waits) = waits {
            waits.await;
        }
        if self.health() == Health::Closed {
            return Err(Fault::lost("connection lost"));
        }
        self.node.lsn.fetch_add(10, Ordering::SeqCst);
        self.node.report.lock().lsn = Lsn(self.node.lsn.load(Ordering::SeqCst));
        self.health = Health::Clean;
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), Fault> {
        self.health = Health::Clean;
        Ok(())
    }

    async fn log_end(&mut self) -> Result<Position, Fault> {
        Ok(self.node.position())
    }

    async fn visible(&mut self) -> Result<Position, Fault> {
        Ok(self.node.position())
    }

    async fn recover(&mut self) -> bool {
        self.node.panic_if_told();
        let recovery = *self.node.recovery.lock();
        match recovery {
            Some(time) => {
                sleep(time).await;
                self.health = Health::Clean;
                true
            }
            None => false,
        }
    }

    async fn report(&mut self) -> Result<NodeReport, Fault> {
        self.node.reports.lock().push(Instant::now());
        match self.node.refuses.lock().clone() {
            Some(error) => Err(Fault::lost(error.message)),
            None => Ok(self.node.report.lock().clone()),
        }
    }
}
