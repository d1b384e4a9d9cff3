//! Who finds out which indexes are missing, for a runtime that names no driver.

use std::future::Future;
use std::pin::Pin;

use super::report::Report;
use super::workload::Workload;
use crate::backend::Endpoint;

/// An adviser's answer: a report, or why there is none.
pub type Advising<'a> = Pin<Box<dyn Future<Output = Result<Report, String>> + Send + 'a>>;

/// Finds out which indexes are missing. The driver gives one to the runtime, which knows when to ask, and where.
#[diagnostic::on_unimplemented(message = "`{Self}` does not give advice on indexes")]
pub trait Advisor: Send + Sync + 'static {
    /// Looks at these statements, on a connection of its own to the primary, and changes nothing there.
    ///
    /// # Errors
    /// Why there is no advice, in words for the state and the log; without passwords and values.
    ///
    /// # Cancel safety
    /// The future is dropped when it takes too long: nothing may be left behind.
    fn advise<'a>(&'a self, primary: &'a Endpoint, workload: &'a Workload) -> Advising<'a>;
}
