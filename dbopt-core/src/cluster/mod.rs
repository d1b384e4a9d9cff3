//! What every node is and how far behind it is, as one snapshot that is replaced whole (R2, R6).

mod config;
mod discovery;
mod host;
mod lag;
mod monitor;
mod patroni;
mod reach;
mod state;
mod takeover;
mod topology;
mod trust;
mod watcher;

pub use config::{Config, Mode};
pub(crate) use discovery::{Changes, Slots, SystemResolver};
pub use discovery::{Found, Resolver};
pub(crate) use host::Sources;
pub use host::{Asked, Cpu, HostConfig, HostReading, HostSample, HostSource, HostSourceKind, HostWatcher, Told};
pub use lag::{Lag, LsnRing};
pub use monitor::{Cluster, Watched};
pub(crate) use patroni::Follower;
pub use patroni::{Patroni, PatroniConfig, PatroniError, PatroniMember};
pub use reach::Reached;
pub use state::{Details, Feeder, NodeState, NodeView, Receiver, Topology};
pub use takeover::Takeover;
pub use watcher::Watcher;
