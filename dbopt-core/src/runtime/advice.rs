//! From time to time it is looked which indexes the statements of this instance miss, and which are not needed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::Runtime;
use crate::backend::{Backend, Endpoint, Site};
use crate::query::Insight;
use crate::query::advise::{Advisor, Workload};
use crate::random;

/// The first look, so that there are statements to look at.
const FIRST: Duration = Duration::from_secs(5 * 60);

/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// How long a look may take. It reads, and plans what the primary is asked anyway.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is asked, and where.
pub(super) struct IndexAdvisor {
    advisor: Option<Arc<dyn Advisor>>,
    sites: Vec<Site>,
}

impl IndexAdvisor {
    pub(super) fn new(advisor: Option<Arc<dyn Advisor>>, sites: Vec<Site>) -> Self {
        IndexAdvisor { advisor, sites }
    }
}

/// All that a look takes: it does not keep the runtime alive.
struct Look {
    /// Who is asked about which server, or why nobody is.
    at: Result<(Arc<dyn Advisor>, Arc<Endpoint>), String>,
    insight: Arc<Insight>,
}

impl Look {
    async fn run(self) -> Result<(), String> {
        let Look { at, insight } = self;
        let (advisor, primary) = match at {
            Ok(at) => at,
            Err(why) => return tell(&insight, Duration::ZERO, Err(why)),
        };
        let known = insight.clone();
        let begin = Instant::now();
        let told = match spawn_blocking(move || Workload::of_insight(&known.status())).await {
            Ok(workload) => timeout(PATIENCE, advisor.advise(&primary, &workload))
                .await
                .unwrap_or_else(|_| Err(format!("the look was given up after {PATIENCE:?}"))),
            Err(_) => Err("the statements could not be gathered".to_owned()),
        };
        tell(&insight, begin.elapsed(), told)
    }
}

/// Keeps the answer, and tells the log what is new in it.
fn tell(insight: &Insight, took: Duration, told: Result<crate::query::advise::Report, String>) -> Result<(), String> {
    let failed = told.as_ref().err().cloned();
    match insight.advised(took, told) {
        Ok(news) => {
            for missing in news {
                tracing::info!(target: "dbopt::indexes", "an index is missing: {missing}");
            }
        }
        Err(Some(why)) => tracing::warn!(target: "dbopt::indexes", "no advice on indexes: {why}"),
        Err(None) => {}
    }
    failed.map_or(Ok(()), Err)
}

impl<B: Backend> Runtime<B> {
    /// Looks now which indexes the statements of this instance miss, and keeps the answer for the status, as it is done every `insight.index_advice`.
    ///
    /// # Errors
    /// Why there is no advice; that is kept, too.
    ///
    /// # Cancel safety
    /// Dropped, it leaves nothing behind, and what was known before stays.
    pub async fn advise_indexes(&self) -> Result<(), String> {
        self.look_at_indexes().run().await
    }

    fn look_at_indexes(&self) -> Look {
        Look { at: self.where_to_look(), insight: self.insight.clone() }
    }

    fn where_to_look(&self) -> Result<(Arc<dyn Advisor>, Arc<Endpoint>), String> {
        let IndexAdvisor { advisor, sites } = &self.index_advisor;
        let advisor = advisor.clone().ok_or(NO_ADVISOR)?;
        let primary = self.cluster.topology().primary.and_then(|primary| sites.get(primary)).map(Site::endpoint);
        let primary =
            primary.ok_or("no primary is known at the moment: the writes that an index costs are counted there")?;
        Ok((advisor, primary))
    }

    /// Whether anybody looks; if not, the status says why.
    pub(super) fn is_advised(&self) -> bool {
        let why = if !self.insight.is_enabled() {
            "insight.enabled is false"
        } else if self.config.insight.index_advice.is_zero() {
            "insight.index_advice is \"0s\""
        } else if self.index_advisor.advisor.is_none() {
            NO_ADVISOR
        } else {
            return true;
        };
        self.insight.never_advised(why);
        false
    }
}

const NO_ADVISOR: &str = "this application is built without the feature `advise`";

/// Looks again and again, a quarter earlier or later, so that instances that were started at once do not look at once.
pub(super) async fn look_again<B: Backend>(runtime: Weak<Runtime<B>>, every: Duration) {
    let mut wait = FIRST.min(every);
    loop {
        let wait_now = wait.mul_f64(0.75 + random::fraction() / 2.0);
        let Some(strong) = runtime.upgrade() else { return };
        strong.insight.advised_in(wait_now);
        drop(strong);
        sleep(wait_now).await;
        let Some(strong) = runtime.upgrade() else { return };
        let look = strong.look_at_indexes();
        drop(strong);
        let done = look.run().await;
        wait = if done.is_ok() { every } else { AGAIN.min(every) };
    }
}

#[cfg(test)]
mod tests;
