//! What kind of cluster to start.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::cluster::Cluster;
use super::error::DevError;
use super::launch;

/// More than this is a mistake in the units: each node takes about 40 MB and six processes.
const MOST_REPLICAS: usize = 15;

/// Told of each step of a start; see [`ClusterBuilder::on_step`].
type Observer = Arc<dyn Fn(Step) + Send + Sync>;

/// Describes a [`Cluster`]; [`start`](Self::start) brings it up.
#[derive(Clone)]
#[must_use = "nothing runs until start()"]
pub struct ClusterBuilder {
    pub(super) replicas: usize,
    /// Replica to upstream replica, both counted from 1.
    pub(super) cascades: BTreeMap<usize, usize>,
    pub(super) redis: bool,
    pub(super) database: String,
    pub(super) settings: Vec<(String, String)>,
    pub(super) proxied: bool,
    pub(super) proxied_replication: bool,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) password: Option<String>,
    pub(super) tls: bool,
    pub(super) durable: bool,
    observer: Option<Observer>,
}

/// What a starting cluster is busy with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// `initdb`, while Redis starts beside it.
    Initialising,
    /// Each replica gets its copy of the data.
    Copying,
    /// The primary starts.
    StartingPrimary,
    /// The replicas start, all those of one level at once.
    StartingReplicas,
    /// All servers answer; the replicas take in what has happened so far.
    CatchingUp,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialising => "initialising the primary's data",
            Self::Copying => "copying it to the replicas",
            Self::StartingPrimary => "starting the primary",
            Self::StartingReplicas => "starting the replicas",
            Self::CatchingUp => "waiting until the replicas stream",
        })
    }
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            replicas: 3,
            cascades: BTreeMap::new(),
            redis: true,
            database: "app".to_owned(),
            settings: Vec::new(),
            proxied: false,
            proxied_replication: false,
            data_dir: None,
            password: None,
            tls: false,
            durable: false,
            observer: None,
        }
    }
}

impl ClusterBuilder {
    /// How many replicas stream from the primary (default 3).
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Makes a replica stream from another one instead of from the primary; both are counted from 1.
    pub fn cascade(mut self, replica: usize, upstream: usize) -> Self {
        self.cascades.insert(replica, upstream);
        self
    }

    /// Whether there is a Redis (default: yes).
    pub fn redis(mut self, redis: bool) -> Self {
        self.redis = redis;
        self
    }

    /// The database that is created and that `url()` names (default `app`).
    pub fn database(mut self, name: &str) -> Self {
        name.clone_into(&mut self.database);
        self
    }

    /// A setting of `postgresql.conf` for all nodes; wins over ours, and the last one wins over those before it.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Whether a [`Proxy`](super::Proxy) stands before every node and Redis (default: no). Then `url()` leads through
    /// it. Replication does not pass through it: see [`proxied_replication`](Self::proxied_replication).
    pub fn proxied(mut self, proxied: bool) -> Self {
        self.proxied = proxied;
        self
    }

    /// Whether each replica receives its WAL through a proxy, [`Node::link`](super::Node::link) (default: no).
    pub fn proxied_replication(mut self, proxied: bool) -> Self {
        self.proxied_replication = proxied;
        self
    }

    /// Where the data lives (default: a temporary folder that goes with the cluster). A folder named here stays, and a
    /// cluster started in it again has the databases it had: whichever node was primary last becomes `primary`, and the
    /// replicas are copied anew. It must be new, empty, or from an earlier cluster.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// The password of the superuser `postgres`, asked for by SCRAM (default: none, everybody on this machine may in).
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Whether the nodes offer TLS, with a certificate for `localhost` and `127.0.0.1` signed by an authority of the
    /// cluster's own: [`Cluster::ca_certificate`] (default: no). `url()` then says `sslmode=require`.
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Whether data shall survive a crash of the machine (default: no, `fsync` is off; a killed server loses nothing
    /// either way).
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Is called at the beginning of each step of the start: for a progress display.
    pub fn on_step(mut self, observer: impl Fn(Step) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Starts the cluster and returns when every node answers and every replica streams.
    ///
    /// # Errors
    /// [`DevError`]: what is missing, what cannot be, or which server failed with the end of its log. What had been started
    /// is ended.
    ///
    /// # Cancel safety
    /// Dropping the future ends what had been started.
    pub async fn start(self) -> Result<Cluster, DevError> {
        launch::launch(self).await
    }

    pub(super) fn step(&self, step: Step) {
        tracing::debug!(%step, "development cluster");
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }

    /// The index (0 is the primary) of the node that replica `replica` follows.
    pub(super) fn upstream(&self, replica: usize) -> usize {
        self.cascades.get(&replica).copied().unwrap_or(0)
    }

    /// How many hops replica `replica` is from the primary.
    pub(super) fn level(&self, replica: usize) -> usize {
        let chain = std::iter::successors(Some(replica), |replica| Some(self.upstream(*replica)));
        chain.take_while(|node| *node != 0).take(self.replicas + 1).count()
    }

    pub(super) fn check(&self) -> Result<(), DevError> {
        let invalid = |what: String| Err(DevError::Invalid(what));
        if self.replicas > MOST_REPLICAS {
            return invalid(format!("{} replicas are more than {MOST_REPLICAS}", self.replicas));
        }
        for (replica, upstream) in &self.cascades {
            for name in [replica, upstream] {
                if !(1..=self.replicas).contains(name) {
                    return invalid(format!(
                        "cascade({replica}, {upstream}) names replica {name} of {}",
                        self.replicas
                    ));
                }
            }
            if self.level(*replica) > self.replicas {
                return invalid(format!("replica {replica} would stream from itself, by way of replica {upstream}"));
            }
        }
        if self.database.is_empty() || self.database.contains('\0') {
            return invalid("the database needs a name".to_owned());
        }
        if self.password.as_ref().is_some_and(|password| password.is_empty() || password.contains(['\n', '\0'])) {
            return invalid("the password is empty or holds a line break".to_owned());
        }
        Ok(())
    }
}

impl fmt::Debug for ClusterBuilder {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterBuilder")
            .field("replicas", &self.replicas)
            .field("cascades", &self.cascades)
            .field("redis", &self.redis)
            .field("database", &self.database)
            .field("settings", &self.settings)
            .field("proxied", &self.proxied)
            .field("data_dir", &self.data_dir)
            .field("tls", &self.tls)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(builder: ClusterBuilder) -> String {
        builder.check().unwrap_err().to_string()
    }

    #[test]
    fn levels_follow_the_cascade() {
        let builder = ClusterBuilder::default().cascade(2, 1).cascade(3, 2);
        builder.check().unwrap();
        assert_eq!([1, 2, 3].map(|replica| builder.level(replica)), [1, 2, 3]);
        assert_eq!([1, 2, 3].map(|replica| builder.upstream(replica)), [0, 1, 2]);
    }

    #[test]
    fn impossible_clusters_are_refused_in_words() {
        assert!(refusal(ClusterBuilder::default().cascade(4, 1)).contains("replica 4 of 3"));
        assert!(refusal(ClusterBuilder::default().cascade(1, 1)).contains("from itself"));
        assert!(refusal(ClusterBuilder::default().cascade(1, 2).cascade(2, 1)).contains("from itself"));
        assert!(refusal(ClusterBuilder::default().replicas(100)).contains("more than"));
        assert!(refusal(ClusterBuilder::default().database("")).contains("name"));
        assert!(refusal(ClusterBuilder::default().password("")).contains("password"));
    }

    #[test]
    fn debug_output_has_no_password() {
        assert!(!format!("{:?}", ClusterBuilder::default().password("geheim")).contains("geheim"));
    }
}
