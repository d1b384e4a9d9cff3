//! Limits of single users in place of the configured one: from the settings, or from the application.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cell::Limit;
use super::window::millis;
use crate::rate::Rates;

type Answer = Pin<Box<dyn Future<Output = Option<Rates>> + Send>>;
type Ask = Box<dyn Fn(String) -> Answer + Send + Sync>;

/// Who has another limit.
pub(super) struct Overrides {
    table: HashMap<String, Arc<Limit>>,
    ask: OnceLock<Ask>,
    ttl: u64,
    timeout: Duration,
}

/// What is known of a user at once.
pub(super) enum Known {
    /// This, for that long.
    Limit(Option<Arc<Limit>>, u64),
    /// The application must be asked.
    Unknown,
}

impl Overrides {
    pub(super) fn new(table: HashMap<String, Arc<Limit>>, ttl: Duration) -> Self {
        Overrides { table, ask: OnceLock::new(), ttl: millis(ttl), timeout: Duration::from_secs(1) }
    }

    /// Whether anybody may have another limit.
    pub(super) fn any(&self) -> bool {
        !self.table.is_empty() || self.ask.get().is_some()
    }

    /// False if somebody is asked already.
    pub(super) fn set<F, A>(&self, ask: F) -> bool
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Option<Rates>> + Send + 'static,
    {
        self.ask.set(Box::new(move |user| Box::pin(ask(user)))).is_ok()
    }

    pub(super) fn known(&self, user: Option<&str>, now: u64) -> Known {
        let Some(user) = user else { return Known::Limit(None, u64::MAX) };
        match (self.table.get(user), self.ask.get()) {
            (Some(limit), _) => Known::Limit(Some(limit.clone()), u64::MAX),
            (None, None) => Known::Limit(None, now + self.ttl),
            (None, Some(_)) => Known::Unknown,
        }
    }

    /// The application's answer; none also when it takes too long, so that its failure refuses nobody.
    pub(super) async fn ask(&self, user: &str) -> Option<Rates> {
        let answer = self.ask.get()?(user.to_owned());
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(rates) => rates,
            Err(_) => {
                tracing::warn!(target: "dbopt::limit", "a user's limit was not told within {:?}; the configured one holds", self.timeout);
                None
            }
        }
    }

    pub(super) fn ttl(&self) -> u64 {
        self.ttl
    }
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides").field("users", &self.table.len()).finish_non_exhaustive()
    }
}
