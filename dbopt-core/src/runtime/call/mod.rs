//! The path of a call, in its one fixed order: limits of the caller's side, route, pool, body, commit, record.
//!
//! Generated code walks it in three steps, so that no logic lies in the macro:
//! [`Call::acquire`], [`Call::run`] and [`Call::finish`] (or [`Call::finish_once`] for bodies that must not run twice).

mod acquire;
mod after;
mod again;
mod end;
mod fate;
mod hedge;
mod primary;
mod span;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::Runtime;
use super::bulkhead::Turn;
use super::limiting::Limits;
use crate::backend::{Backend, TransactionMark};
use crate::cache::written::Written;
use crate::context::{self, Context};
use crate::error::{Error, Reason, Refusal, Waiting};
use crate::observe::{MethodCalls, Outcome};
use crate::op::Op;
use crate::position::Position;
use crate::route::{Plan, Target};
use crate::timer::Timer;
use after::After;
pub use hedge::Begun;
use hedge::Hedge;
use span::CallSpan;

/// One call of a method, from its routing to its result.
pub struct Call<'a, B: Backend> {
    pub(super) runtime: &'a Arc<Runtime<B>>,
    pub(super) op: &'static Op,
    counts: &'a MethodCalls,
    context: Option<Context>,
    started: Instant,
    deadline: Instant,
    timer: Timer<'a>,
    plan: Option<Plan>,
    next: usize,
    at: Option<Target>,
    /// When it got its connection; when it began, where nobody asks how long the node takes.
    got_at: Instant,
    /// Whether it waits for another attempt to connect.
    patient: bool,
    /// Whether it has.
    waited: bool,
    /// How often it has looked for a connection again.
    looks: u32,
    reruns: u32,
    /// What its transaction can be recognised by, where that is wanted.
    mark: Option<TransactionMark>,
    refusals: Vec<Refusal>,
    /// Whether the result may be cached, so that it matters how new it is.
    notes_position: bool,
    read_at: Option<Position>,
    /// What a load must see besides what its caller has written.
    required: Option<Position>,
    primary_only: bool,
    /// dbopt's own reason why the call failed.
    own_error: Option<Error>,
    outcome: Outcome,
    after: After,
    pub(super) limits: Limits,
    /// Its place among the calls of its method, where that has a limit.
    pub(super) turn: Option<Turn>,
    /// When it came to its node, if it was on another one before.
    came_at: Instant,
    /// Its place among the reads that the primary serves for replicas.
    stand_in: Option<SemaphorePermit<'a>>,
    /// Its second attempt on another replica, while there is one.
    hedge: Option<Box<Hedge<B>>>,
    /// What traces show of it.
    pub(super) span: CallSpan,
}

/// How one run of a body ended.
#[derive(Debug)]
pub enum Attempt<R> {
    /// It returned.
    Done(R),
    /// The call's deadline passed.
    OutOfTime,
    /// Its node was found unreachable.
    NodeLost,
}

impl<'a, B: Backend> Call<'a, B> {
    pub(super) fn new(runtime: &'a Arc<Runtime<B>>, op: &'static Op) -> Self {
        let context = Context::current();
        let started = Instant::now();
        let limit = started + runtime.config.call.timeout;
        let deadline = context.as_ref().and_then(Context::deadline).map_or(limit, |own| own.min(limit));
        Call {
            counts: runtime.calls.method(op),
            runtime,
            op,
            context,
            started,
            deadline,
            timer: Timer::of(&runtime.timers),
            plan: None,
            next: 0,
            at: None,
            got_at: started,
            patient: true,
            waited: false,
            looks: 0,
            reruns: 0,
            mark: None,
            refusals: Vec::new(),
            notes_position: false,
            read_at: None,
            required: None,
            primary_only: false,
            own_error: None,
            outcome: Outcome::Ok,
            after: After::default(),
            limits: Limits::default(),
            turn: None,
            came_at: started,
            stand_in: None,
            hedge: None,
            span: CallSpan::begin(op),
        }
    }

    /// When it ends at the latest.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Makes it read what shows `position`, or from the primary only.
    pub fn require(&mut self, position: Option<Position>, primary_only: bool) {
        self.required = Position::later(self.required, position);
        self.primary_only |= primary_only;
        self.notes_position = true;
    }

    /// Makes results with this tag unservable once what this call writes is committed.
    pub fn invalidates(&mut self, tag: impl Into<String>) {
        self.after.invalidates(tag.into());
    }

    /// Keeps a value for the cached method that would read it, once what this call writes is committed.
    pub(super) fn writes_through(&mut self, written: Box<dyn Written>) {
        self.after.writes_through(written);
    }

    /// What readers of the node were known to see before the body ran there.
    pub fn read_at(&self) -> Option<Position> {
        self.read_at
    }

    /// dbopt's own reason why it failed, if that is why.
    pub fn own_error(&self) -> Option<&Error> {
        self.own_error.as_ref()
    }

    /// Whether the node, the connection or a limit of dbopt stood in the way.
    pub fn met_infrastructure_fault(&self) -> bool {
        self.outcome == Outcome::InfrastructureError
    }

    pub(super) fn out_of_time(&self, doing: Waiting) -> Error {
        Error::Deadline {
            method: self.op.name(),
            after: self.started.elapsed(),
            doing,
            cause: self.refusals.last().cloned(),
        }
    }

    /// Runs a body, until the call's time is up or its node is lost.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body; what it left running on the server is cancelled when its lease is dropped.
    pub async fn run<F: Future>(&mut self, body: F) -> Attempt<F::Output> {
        self.run_until(body, self.deadline).await
    }

    async fn run_until<F: Future>(&mut self, body: F, until: Instant) -> Attempt<F::Output> {
        let node = self.at.map_or(0, |target| target.node);
        let cluster = &self.runtime.cluster;
        let mut body = pin!(context::holding(self.op, body));
        let mut lost = pin!(cluster.lost(node));
        let Call { timer, span, .. } = self;
        let first = poll_fn(|cx| {
            let _part = span.enter();
            if let Poll::Ready(result) = body.as_mut().poll(cx) {
                return Poll::Ready(Attempt::Done(result));
            }
            lost.as_mut().poll(cx).map(|()| Attempt::NodeLost)
        });
        timer.limit(until, first).await.unwrap_or(Attempt::OutOfTime)
    }

    fn refusal(&self, target: Target, reason: Reason, detail: &str) -> Refusal {
        Refusal {
            node: self.runtime.cluster.name(target.node),
            lane: target.lane,
            reason,
            detail: detail.to_owned(),
            retry_after: None,
        }
    }
}

#[cfg(test)]
mod replaced_tests;
#[cfg(test)]
mod tests;
