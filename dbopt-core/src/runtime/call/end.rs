//! From a body's result to the caller's: commit or roll back, publish, count.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::fate::FoundOut;
use super::{Attempt, Call};
use crate::backend::{Backend, Connection, Fault, FaultKind};
use crate::cache::Acknowledged;
use crate::error::{Error, Reason, Waiting};
use crate::observe::Outcome;
use crate::op::{Intent, Lane};
use crate::pool::Lease;
use crate::position::Position;
use crate::route::Target;
use crate::runtime::resilience::Again;
use crate::timer::Timer;

/// What is to be done after a body has run.
enum Verdict<T, E> {
    Return(Result<T, E>, Outcome),
    RunAgain,
}

/// Why a COMMIT has no answer.
enum Unanswered {
    /// The call's time was up.
    InTime,
    /// Another node is the primary.
    Replaced,
}

impl<B: Backend> Call<'_, B> {
    /// Ends one run of a body that may run again; `None` asks for another round.
    ///
    /// # Cancel safety
    /// Not cancel safe for writes: dropped during COMMIT, it leaves the outcome unknown.
    pub async fn finish<T, E: From<B::Error>>(
        &mut self,
        lease: Lease<B>,
        attempt: Attempt<Result<T, E>>,
    ) -> Option<Result<T, E>> {
        match self.judge(lease, attempt).await {
            Verdict::Return(result, outcome) => {
                self.record(outcome);
                Some(result)
            }
            Verdict::RunAgain => {
                self.stand_in = None;
                self.came_at = Instant::now();
                self.counts.run_again();
                self.reruns += 1;
                if self.plan.is_some_and(|plan| plan.get(self.next).is_none()) {
                    self.plan = None;
                }
                None
            }
        }
    }

    /// Ends the only run of a body.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped during COMMIT, it leaves the outcome unknown.
    pub async fn finish_once<T, E: From<B::Error>>(
        &mut self,
        lease: Lease<B>,
        attempt: Attempt<Result<T, E>>,
    ) -> Result<T, E> {
        match self.judge(lease, attempt).await {
            Verdict::Return(result, outcome) => {
                self.record(outcome);
                result
            }
            // Unreachable for a method that must not run twice; said as an error rather than by a panic.
            Verdict::RunAgain => Err(E::from(self.nobody().into())),
        }
    }

    async fn judge<T, E: From<B::Error>>(
        &mut self,
        mut lease: Lease<B>,
        attempt: Attempt<Result<T, E>>,
    ) -> Verdict<T, E> {
        match attempt {
            Attempt::Done(Ok(value)) => match self.commit(&mut lease).await {
                Ok(()) => {
                    self.node_answered();
                    Verdict::Return(Ok(value), Outcome::Ok)
                }
                Err(error) => {
                    if self.is_replaced() {
                        lease.close();
                    }
                    self.refuse(error)
                }
            },
            Attempt::Done(Err(error)) => {
                let fault = lease.fault();
                let kind = fault.as_ref().map(|f| f.kind);
                match &fault {
                    Some(fault) => self.node_failed(fault),
                    None => self.node_answered(),
                }
                if let (Some(fault), Intent::Read) = (&fault, self.op.intent())
                    && fault.kind == FaultKind::ReadOnly
                {
                    return self.refuse(Error::WroteInRead { method: self.op.name(), message: fault.message.clone() });
                }
                self.roll_back(&mut lease).await;
                self.publish_what_may_stand(&mut lease);
                if kind.is_some_and(FaultKind::suspects_node) {
                    self.suspect();
                    lease.close();
                } else if kind == Some(FaultKind::ReadOnly) {
                    self.recheck();
                    lease.close();
                }
                if kind.is_some_and(FaultKind::may_succeed_elsewhere) {
                    self.weighs_less();
                }
                if kind.is_some_and(FaultKind::may_succeed_elsewhere) && self.may_run_again() {
                    return Verdict::RunAgain;
                }
                let outcome = match kind {
                    None | Some(FaultKind::Application | FaultKind::RolledBack) => Outcome::ApplicationError,
                    Some(_) => Outcome::InfrastructureError,
                };
                Verdict::Return(Err(error), outcome)
            }
            Attempt::NodeLost => {
                self.node_lost();
                self.weighs_less();
                self.publish_what_may_stand(&mut lease);
                lease.close();
                if self.may_run_again() {
                    return Verdict::RunAgain;
                }
                let lost = self.lost_in_body();
                self.refuse(lost)
            }
            Attempt::OutOfTime => {
                self.node_was_slow();
                self.publish_what_may_stand(&mut lease);
                drop(lease);
                let late = self.out_of_time(Waiting::Body);
                self.refuse(late)
            }
        }
    }

    fn refuse<T, E: From<B::Error>>(&mut self, error: Error) -> Verdict<T, E> {
        self.own_error = Some(error.clone());
        Verdict::Return(Err(E::from(error.into())), Outcome::InfrastructureError)
    }

    async fn commit(&mut self, lease: &mut Lease<B>) -> Result<(), Error> {
        if self.op.intent() == Intent::Read {
            return Ok(());
        }
        let target = self.at.ok_or_else(|| self.nobody())?;
        self.after.add(lease.take_invalidations());
        let lower = self.position_inside(lease).await;
        let note = self.note(lease, target).await?;
        if self.is_replaced() && self.op.in_transaction() {
            return Err(self.nothing_committed(target));
        }
        // Whatever happens from here on: what may be committed is invalidated.
        let mut unsettled = self.after.unsettled(&self.runtime.cache);
        let (mut found_out, mut lost) = (None, None);
        if self.op.in_transaction() {
            match self.send_commit(lease).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) if fault.kind == FaultKind::RolledBack => {
                    self.node_answered();
                    unsettled.settled();
                    return Err(Error::RolledBack { method: self.op.name() });
                }
                Ok(Err(fault)) if fault.kind.suspects_node() => {
                    self.node_failed(&fault);
                    self.suspect();
                    lost = Some(fault.message);
                }
                Ok(Err(fault)) => {
                    self.node_failed(&fault);
                    unsettled.settled();
                    return Err(self.database_error("COMMIT", target, fault));
                }
                Err(Unanswered::InTime) => {
                    return Err(self.outcome_unknown(target, "COMMIT was not answered in time".into()));
                }
                Err(Unanswered::Replaced) => lost = Some("another node is the primary since".into()),
            }
        } else if self.is_replaced() {
            return Err(self.outcome_unknown(target, "another node is the primary since".into()));
        }
        if let Some(message) = lost {
            match Box::pin(self.find_out()).await {
                FoundOut::Committed(position) => found_out = position,
                FoundOut::Aborted => {
                    unsettled.settled();
                    return Err(self.nothing_committed(target));
                }
                FoundOut::Nothing => return Err(self.outcome_unknown(target, message)),
            }
        }
        if self.context.is_none() && self.after.is_empty() {
            return Ok(());
        }
        let position = match found_out.or_else(|| lease.committed_at()) {
            Some(position) => Some(position),
            // The data is safe whatever happens now: without the position, later reads merely go to the primary.
            None => timeout_at(self.deadline, lease.log_end()).await.ok().and_then(Result::ok),
        };
        if let Some(position) = position {
            self.runtime.cluster.shows(target.node, position);
        }
        if let Some(context) = &self.context {
            match position {
                Some(position) => context.wrote(position),
                None => context.wrote_unseen(),
            }
        }
        unsettled.settled();
        let told = self.after.publish(&self.runtime.cache, lower, position).await;
        if let (Some(note), Acknowledged::Everywhere) = (note, told) {
            self.runtime.outbox.delivered(note);
        }
        Ok(())
    }

    /// COMMIT, until its answer, the end of the call's time, or another node has taken the place of its own: what is committed there from then on is
    /// lost.
    async fn send_commit(&self, lease: &mut Lease<B>) -> Result<Result<(), Fault>, Unanswered> {
        let node = self.at.map_or(0, |target| target.node);
        let mut commit = pin!(lease.commit());
        let answered = async {
            loop {
                let lost = self.runtime.cluster.lost(node);
                if self.is_replaced() {
                    return Err(Unanswered::Replaced);
                }
                tokio::select! {
                    biased;
                    answer = &mut commit => {
                        let too_late = answer.is_ok() && self.is_replaced();
                        return if too_late { Err(Unanswered::Replaced) } else { Ok(answer) };
                    }
                    () = lost => {}
                }
            }
        };
        Timer::of(&self.runtime.timers).limit(self.deadline, answered).await.unwrap_or(Err(Unanswered::InTime))
    }

    /// Whether it runs, as a write, on a node in whose place another one is the primary.
    fn is_replaced(&self) -> bool {
        let primary = self.runtime.cluster.topology().primary;
        let is = |target: Target| target.lane != Lane::Read && primary.is_some_and(|primary| primary != target.node);
        self.at.is_some_and(is)
    }

    /// Notes what is invalidated in the transaction itself, where that is wanted.
    async fn note(&self, lease: &mut Lease<B>, target: Target) -> Result<Option<i64>, Error> {
        if !self.runtime.config.cache.outbox || self.after.is_empty() || !self.op.in_transaction() {
            return Ok(None);
        }
        match timeout_at(self.deadline, lease.note_invalidations(&self.after.tags())).await {
            Ok(noted) => noted.map_err(|fault| self.database_error("note what it invalidates", target, fault)),
            Err(_) => Err(self.out_of_time(Waiting::TransactionEnd)),
        }
    }

    /// Without a transaction, what a body did before it failed stands, and perhaps what it was doing.
    fn publish_what_may_stand(&mut self, lease: &mut Lease<B>) {
        if self.op.intent() == Intent::Write && !self.op.in_transaction() {
            self.after.add(lease.take_invalidations());
            drop(self.after.unsettled(&self.runtime.cache));
        }
    }

    /// A position from inside the transaction, for a value that is to be written through.
    async fn position_inside(&self, lease: &mut Lease<B>) -> Option<Position> {
        if !self.after.writes_a_value() || !self.op.in_transaction() {
            return None;
        }
        timeout_at(self.deadline, lease.log_end()).await.ok()?.ok()
    }

    async fn roll_back(&self, lease: &mut Lease<B>) {
        if self.op.in_transaction() {
            // What cannot be rolled back in time is closed when the lease is dropped.
            let until = self.deadline.max(Instant::now() + Duration::from_millis(100));
            let _ = timeout_at(until, lease.rollback()).await;
        }
    }

    fn may_run_again(&self) -> bool {
        self.op.may_run_again()
            && self.reruns + 1 < self.runtime.config.call.attempts
            && Instant::now() < self.deadline
            && self.runtime.may_retry(Again::Body)
    }

    pub(super) fn suspect(&self) {
        if let Some(target) = self.at {
            self.runtime.cluster.suspect(target.node);
        }
    }

    /// A node that takes no writes any more may have been demoted; or the session was made read-only by the body.
    fn recheck(&self) {
        if let Some(target) = self.at {
            self.runtime.cluster.recheck(target.node);
        }
    }

    /// Tells the balancer that the node failed the call, wherever it goes now.
    pub(super) fn weighs_less(&self) {
        if let Some(Target { node, lane: Lane::Read, .. }) = self.at {
            self.runtime.balancer.failed(node);
        }
    }

    fn record(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        self.span.ended(outcome);
        self.stand_in = None;
        self.charge_time();
        if let Some(target) = self.at {
            let series = self.counts.series(target.node, target.lane);
            series.record(outcome, self.started.elapsed());
            if self.came_at > self.started {
                series.spent_elsewhere(self.came_at.duration_since(self.started));
            }
        }
    }

    /// The node died under a write: inside a transaction nothing was committed, otherwise nobody knows.
    fn lost_in_body(&self) -> Error {
        match self.at {
            Some(target) if !self.op.in_transaction() && self.op.intent() == Intent::Write => {
                self.outcome_unknown(target, "the node stopped answering".into())
            }
            Some(target) => self.nothing_committed(target),
            None => self.nobody(),
        }
    }

    fn nothing_committed(&self, target: Target) -> Error {
        let refusal = self.refusal(target, Reason::NotReady, "the node stopped answering; nothing was committed");
        Error::Unavailable { method: self.op.name(), refusals: vec![refusal] }
    }

    fn outcome_unknown(&self, target: Target, message: String) -> Error {
        Error::OutcomeUnknown {
            method: self.op.name(),
            node: self.runtime.cluster.name(target.node).to_string(),
            message,
        }
    }

    pub(super) fn database_error(&self, doing: &'static str, target: Target, fault: Fault) -> Error {
        Error::Database {
            method: self.op.name(),
            node: self.runtime.cluster.name(target.node).to_string(),
            doing,
            message: fault.message,
            sqlstate: fault.sqlstate,
        }
    }
}
