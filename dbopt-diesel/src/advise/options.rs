//! Where advice begins: the catalog is read, somebody is found who can verify, and the search starts.

use dbopt_core::query::advise::{Catalog, Report, Workload, foreign_keys, unneeded};

use super::error::{Doing, Error};
use super::laboratory::Laboratory;
use super::search::Search;
use super::{catalog, unverified};
use crate::connect::{Session, session};

/// The name of our sessions in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "dbopt advise";

/// A connection that reads; nothing there takes long.
const CAREFULLY: &str = "SET default_transaction_read_only = on; SET statement_timeout = '10s'; SET lock_timeout = '1s'; \
                         SET idle_in_transaction_session_timeout = '5min'; SET jit = off; SET max_parallel_workers_per_gather = 0";

/// What to look at.
#[derive(Debug, Clone)]
pub struct Options {
    /// A copy of the database that may be changed: indexes are really built there, in a transaction that is rolled back. None: HypoPG is used if the
    /// database has it.
    pub scratch: Option<String>,
    /// Statements that were run less often are not looked at. 10. Too low: advice for what is run once a month; too high: what is slow and rare is missed.
    pub least_calls: u64,
    /// So many statements are looked at, those that take the most time. 200. Higher takes longer.
    pub most_statements: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { scratch: None, least_calls: 10, most_statements: 200 }
    }
}

/// What is advised for the database of `url` and the statements that are run there. Reads only, on a connection of its own; what `options.scratch` names
/// is left as it was.
///
/// # Errors
/// When the database or the scratch copy cannot be reached or read. Statements that cannot be explained are no error, but told.
///
/// # Cancel safety
/// Nothing is left behind: hypothetical indexes live in a session, real ones in a transaction.
pub async fn advise(url: &str, workload: &Workload, options: &Options) -> Result<Report, Error> {
    look(session(url, APPLICATION).await.map_err(Error::Connect)?, workload, options).await
}

/// Looks on this session.
pub(super) async fn look(session: Session, workload: &Workload, options: &Options) -> Result<Report, Error> {
    session.client.batch_execute(CAREFULLY).await.doing("set up the session")?;
    let (catalog, mut notes) = catalog::read(&session.client).await?;
    notes.extend(workload.notes.iter().cloned());
    let chosen = choose(workload, &catalog, options, &mut notes);
    let laboratory = Laboratory::open(session, options.scratch.as_deref()).await?;
    let mut report = Report {
        missing: Vec::new(),
        unneeded: unneeded(&catalog),
        rejected: Vec::new(),
        skipped: Vec::new(),
        statements: chosen.statements.len(),
        notes,
    };
    let mut search = Search::begin(laboratory, &catalog, chosen, &mut report).await?;
    if search.laboratory.can_verify() {
        search.run(&mut report).await?;
    } else {
        unverified::tell(&search, &mut report);
    }
    search.laboratory.close().await?;
    Ok(report)
}

/// The statements that are worth a look, and what the server asks itself.
fn choose(workload: &Workload, catalog: &Catalog, options: &Options, notes: &mut Vec<String>) -> Workload {
    let least = options.least_calls as f64;
    let mut statements: Vec<_> =
        workload.statements.iter().filter(|statement| statement.calls >= least).cloned().collect();
    let rare = workload.statements.len() - statements.len();
    if rare > 0 {
        notes.push(format!("{rare} statements ran less than {least} times and were not looked at"));
    }
    statements.sort_by(|one, other| other.total_ms.total_cmp(&one.total_ms));
    if statements.len() > options.most_statements {
        notes.push(format!("only the {} statements that took the most time were looked at", options.most_statements));
        statements.truncate(options.most_statements);
    }
    for mut asked in foreign_keys(catalog, least) {
        // In the workload's own time.
        if workload.seconds > 0.0 && catalog.counted_seconds > 0.0 {
            asked.calls *= workload.seconds / catalog.counted_seconds;
        }
        statements.push(asked);
    }
    Workload { statements, seconds: workload.seconds, notes: Vec::new() }
}
