//! Patroni's word on who leads, as the judgement of the cluster takes it. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Upstream;

/// What Patroni says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cluster) struct Said {
    pub(in crate::cluster) lead: Lead,
    /// What somebody should know, in words.
    pub(in crate::cluster) notes: Vec<String>,
    /// How long a leader keeps the lock that says nothing more.
    pub(in crate::cluster) ttl: Duration,
}

/// Who leads, as far as Patroni can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cluster) enum Lead {
    /// Nothing that could be used: SQL alone decides.
    #[default]
    Unsaid,
    /// The leader has the lock in Patroni's store, and the others do not.
    Named { leader: Member, others: Vec<Member> },
    /// Nobody is known to have the lock. These say of themselves that they go on as the leader; there may be none.
    Standing(Vec<Member>),
}

/// A member, by what it may be recognised by among the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cluster) struct Member {
    pub(in crate::cluster) name: Arc<str>,
    /// Where Patroni says that its server is.
    pub(in crate::cluster) place: Option<Upstream>,
    /// When its server was started, in microseconds since 1970.
    pub(in crate::cluster) started: Option<i64>,
}

impl std::fmt::Display for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "`{}` at {place}", self.name),
            None => write!(f, "`{}`", self.name),
        }
    }
}
