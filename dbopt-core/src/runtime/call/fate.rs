//! What became of a COMMIT whose connection was lost: asked of the primary, on another connection.

use std::time::Duration;

use tokio::time::{sleep, timeout_at};

use super::Call;
use crate::backend::{Backend, Connection, Fate, TransactionMark};
use crate::op::{Intent, Op};
use crate::position::Position;

/// Asks what became of a transaction.
static FATE: Op = Op::new("Db::fate", Intent::Read).from_primary();

/// What was found out.
pub(super) enum FoundOut {
    /// It was committed; a position that shows it, if there is one.
    Committed(Option<Position>),
    /// It was not, and never will be.
    Aborted,
    /// Nobody can tell.
    Nothing,
}

impl<B: Backend> Call<'_, B> {
    /// Finds out what became of the transaction, within the call's time, where `call.resolve_outcome` wants it.
    pub(super) async fn find_out(&self) -> FoundOut {
        let Some(mark) = &self.mark else { return FoundOut::Nothing };
        let found_out = timeout_at(self.deadline, self.ask_for(mark)).await.unwrap_or(FoundOut::Nothing);
        let (method, fate) = match found_out {
            FoundOut::Committed(_) => (self.op.name(), "it was committed"),
            FoundOut::Aborted => (self.op.name(), "it was not committed"),
            FoundOut::Nothing => (self.op.name(), "nobody can tell"),
        };
        tracing::info!(method, "the connection was lost during COMMIT: {fate}");
        found_out
    }

    async fn ask_for(&self, mark: &TransactionMark) -> FoundOut {
        // The server may need a moment to notice the loss, or a replica to be promoted.
        let mut pause = Duration::from_millis(10);
        loop {
            let mut call = self.runtime.call(&FATE);
            if let Ok(mut lease) = call.find_connection().await {
                lease.begin_call(false);
                match lease.fate_of(mark).await {
                    Ok(Fate::Committed) => return FoundOut::Committed(lease.log_end().await.ok()),
                    Ok(Fate::Aborted) => return FoundOut::Aborted,
                    Ok(Fate::Unknown) => return FoundOut::Nothing,
                    Ok(Fate::InProgress) | Err(_) => {}
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}
