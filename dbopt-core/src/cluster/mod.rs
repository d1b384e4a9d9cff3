//! What every node is and how far behind it is, as one snapshot that is replaced whole (R2, R6).

mod config;
mod host;
mod lag;
mod monitor;
mod topology;

pub use config::Config;
pub use host::HostReading;
pub use lag::{Lag, LsnRing};
pub use monitor::{Cluster, Watcher};
pub use topology::{NodeState, NodeView, Topology};
