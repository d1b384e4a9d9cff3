//! One PostgreSQL server: where it is, and its life and death.

use std::fmt;
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::process::Signal;

use super::account::Account;
use super::conf::{self, Settings, Upstream};
use super::error::DevError;
use super::find::Binaries;
use super::ports;
use super::process::Program;
use super::proxy::Proxy;
use super::server::Server;

/// How long a server may take from its start to its first answer: generous, because a loaded CI machine is slow.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(60);

/// What all nodes of a cluster share.
pub(super) struct Shared {
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    /// The cluster's folder.
    pub(super) dir: PathBuf,
    pub(super) database: String,
    pub(super) password: Option<String>,
    pub(super) authority: Option<PathBuf>,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
    pub(super) leash: Weak<PipeWriter>,
}

/// How a server is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// No new connections; ends when the last client has gone (SIGTERM).
    Smart,
    /// Ends all sessions, rolls their transactions back, writes a checkpoint (SIGINT): the usual planned stop.
    Fast,
    /// Ends at once; the next start goes through crash recovery (SIGQUIT).
    Immediate,
}

/// One PostgreSQL server of a [`Cluster`](super::Cluster).
///
/// Its port stays the same over stops and starts. Methods that speak SQL go straight to the server, never through its
/// proxy, on a connection of their own.
pub struct Node {
    pub(super) server: Server,
    pub(super) shared: Arc<Shared>,
    pub(super) port: u16,
    home: PathBuf,
    /// The node that it followed when the cluster started.
    upstream: Option<String>,
    pub(super) proxy: Option<Proxy>,
    pub(super) link: Option<Proxy>,
}

impl Node {
    pub(super) fn new(name: &str, upstream: Option<String>, shared: &Arc<Shared>) -> Self {
        let home = shared.dir.join(name);
        let data = home.join("data");
        let program = Program::new(name, shared.binaries.tool("postgres"), home.clone(), home.join("server.log"));
        let program = program.args(["-D".as_ref(), data.as_os_str()]);
        let server = Server::new(program, shared.account.clone());
        Self { server, shared: Arc::clone(shared), port: 0, home, upstream, proxy: None, link: None }
    }

    /// `primary`, `replica-1`, `replica-2`, ... as it was when the cluster started.
    pub fn name(&self) -> &str {
        self.server.name()
    }

    /// The name of the node that it followed when the cluster started; `None` for the primary.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// The server's own port, also when there is a proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The connection string of the cluster's database: through the proxy, if the node has one.
    pub fn url(&self) -> String {
        self.url_for(&self.shared.database)
    }

    /// The same for another database.
    pub fn url_for(&self, database: &str) -> String {
        self.url_at(self.proxy.as_ref().map_or(self.port, Proxy::port), database)
    }

    /// The connection string of the cluster's database, past the proxy.
    pub fn direct_url(&self) -> String {
        self.url_at(self.port, &self.shared.database)
    }

    fn url_at(&self, port: u16, database: &str) -> String {
        conf::url(port, database, self.shared.password.as_deref(), self.shared.authority.is_some())
    }

    /// PGDATA. Its settings are in `node.conf` beside it, where `pg_rewind` and `pg_basebackup` do not touch them.
    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The server's log.
    pub fn log(&self) -> &Path {
        self.server.log()
    }

    /// The postmaster's process number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Whether the postmaster lives; a frozen one does.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// The proxy before this node, in a cluster built with `proxied(true)`.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// The proxy on the way to the server it replicates from, in a cluster built with `proxied_replication(true)`:
    /// its faults cut or slow replication and leave clients alone.
    pub fn link(&self) -> Option<&Proxy> {
        self.link.as_ref()
    }

    /// Ends the postmaster and all its children at once by SIGKILL, as a power cut would, and waits until they are gone.
    /// Does nothing when the node is down.
    ///
    /// # Errors
    /// None today; the type leaves room.
    pub async fn kill(&self) -> Result<(), DevError> {
        self.server.kill().await;
        Ok(())
    }

    /// Stops the node in order and waits for its end; a frozen one is thawed first. Does nothing when it is down.
    ///
    /// # Errors
    /// [`DevError::TimedOut`] after 30 s: with [`Shutdown::Smart`] while clients stay, or with [`Shutdown::Fast`] while a
    /// standby does not take the last of the WAL.
    pub async fn stop(&self, how: Shutdown) -> Result<(), DevError> {
        let signal = match how {
            Shutdown::Smart => Signal::TERM,
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        self.server.stop(signal).await
    }

    /// Stops the postmaster and all its children in their tracks (SIGSTOP): connections stay open and nothing answers,
    /// while the kernel goes on accepting new ones. Returns when none of them moves any more.
    ///
    /// # Errors
    /// [`DevError::NotRunning`].
    pub async fn freeze(&self) -> Result<(), DevError> {
        self.server.freeze().await
    }

    /// Lets a frozen node go on as if nothing had happened.
    ///
    /// # Errors
    /// [`DevError::NotRunning`].
    pub async fn thaw(&self) -> Result<(), DevError> {
        self.server.thaw().await
    }

    /// Starts the node again on its port and its data, and waits until it answers. Does nothing when it runs.
    ///
    /// # Errors
    /// [`DevError::Exited`] with the end of its log when the server refuses; [`DevError::TimedOut`] after 60 s.
    pub async fn start(&self) -> Result<(), DevError> {
        self.server.spawn()?;
        self.wait_ready(START_PATIENCE).await
    }

    /// A fast stop and a start.
    ///
    /// # Errors
    /// Those of [`stop`](Self::stop) and [`start`](Self::start).
    pub async fn restart(&self) -> Result<(), DevError> {
        self.stop(Shutdown::Fast).await?;
        self.start().await
    }

    /// The first start: finds a port, and another one when a stranger was faster. `follows` is the upstream's port.
    pub(super) async fn launch(&mut self, follows: Option<u16>) -> Result<(), DevError> {
        const ATTEMPTS: u32 = 5;
        let mut attempt = 1;
        loop {
            self.port = ports::free()?;
            self.write_settings(follows)?;
            match self.start().await {
                Err(error) if error.is_port_taken() && attempt < ATTEMPTS => {
                    tracing::debug!(node = self.name(), port = self.port, "port taken meanwhile; trying another");
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn write_settings(&self, follows: Option<u16>) -> Result<(), DevError> {
        let shared = &self.shared;
        let upstream = follows.map(|port| Upstream { port, password: shared.password.as_deref(), name: self.name() });
        let settings = Settings {
            port: self.port,
            durable: shared.durable,
            tls: shared.authority.is_some(),
            upstream,
            extra: &shared.settings,
        };
        shared.account.write(&self.home.join("node.conf"), &settings.render())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        ports::give_back(self.port);
    }
}

impl fmt::Debug for Node {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Node");
        shown.field("name", &self.name()).field("port", &self.port).field("pid", &self.pid()).finish_non_exhaustive()
    }
}
