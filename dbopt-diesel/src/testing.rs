//! For tests: how many statements a piece of code runs, and whether it repeats itself.
//!
//! ```no_run
//! use dbopt_diesel::testing::{QueryLog, assert_max_queries, assert_no_n_plus_one};
//! # async fn board() -> Vec<u32> { Vec::new() }
//! # async fn example() {
//! let rows = assert_max_queries(2, board()).await;
//! assert_no_n_plus_one(board()).await;
//! let (rows, log) = QueryLog::of(board()).await;
//! assert!(log.queries().iter().all(|query| query.completed));
//! # }
//! ```
//!
//! They see what runs in the given future, whatever contexts it makes, in its own task and in those that [`spawn`](crate::spawn)
//! begins; not in a task of `tokio::spawn`. With `insight.enabled = false` they see nothing.

use std::fmt::{self, Write};
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use dbopt_core::query::Scope;
pub use dbopt_core::query::{Finding, Kind, Logged};

/// The statements that a piece of code ran, in the order in which they ended.
#[derive(Clone)]
pub struct QueryLog {
    scope: Arc<Scope>,
}

impl QueryLog {
    /// Runs `future`, and keeps what it ran.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`; what it ran until then is lost.
    pub async fn of<F: Future>(future: F) -> (F::Output, QueryLog) {
        let log = QueryLog { scope: Arc::new(Scope::logging()) };
        let output = log.scope.watch(future).await;
        (output, log)
    }

    /// Every statement: BEGIN, COMMIT and dbopt's own questions as well.
    pub fn all(&self) -> Vec<Logged> {
        self.scope.log()
    }

    /// The application's own statements.
    pub fn queries(&self) -> Vec<Logged> {
        let mut all = self.all();
        all.retain(|statement| statement.is_query);
        all
    }

    /// Methods that ran one statement again and again with different values, or were called so (`insight.n_plus_one` times or more).
    pub fn repeated(&self) -> Vec<Finding> {
        self.scope.findings()
    }
}

impl fmt::Debug for QueryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.queries()).finish()
    }
}

/// Runs `future`, and panics if it ran more than `most` statements; BEGIN, COMMIT and dbopt's own questions are not counted.
#[track_caller]
pub fn assert_max_queries<F: Future>(most: usize, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        let (output, log) = QueryLog::of(future).await;
        let queries = log.queries();
        if queries.len() > most {
            let mut list = String::new();
            for query in &queries {
                let _ = write!(list, "\n  {}: {}", query.method.unwrap_or("(no method)"), query.sql);
            }
            fail(at, &format!("{} statements ran, and {most} should have at most:{list}", queries.len()));
        }
        output
    }
}

/// Runs `future`, and panics if a method in it runs one statement again and again where one run would do.
#[track_caller]
pub fn assert_no_n_plus_one<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        let (output, log) = QueryLog::of(future).await;
        let found: Vec<String> = log.repeated().iter().map(ToString::to_string).collect();
        if !found.is_empty() {
            fail(at, &found.join("\n"));
        }
        output
    }
}

#[allow(clippy::panic, reason = "an assertion of the user's tests")]
#[cold]
fn fail(at: &Location<'_>, why: &str) -> ! {
    panic!("{at}: {why}")
}
