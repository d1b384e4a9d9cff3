//! Patroni for tests: its words played by a small web server, and the real one on servers of its own.

mod played;
mod pulse;
mod real;
mod tls;
mod yml;

pub use played::{Played, listed, own};
pub use pulse::{Pulse, Served};
pub use real::{Member, PatroniCluster};
pub use yml::Kind;
