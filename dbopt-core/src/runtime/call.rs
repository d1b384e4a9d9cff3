//! The path of a call, in its one fixed order: limits of the caller's side, route, pool, body, commit, record.
//!
//! Generated code walks it in three steps, so that no logic lies in the macro:
//! [`Call::acquire`], [`Call::run`] and [`Call::finish`] (or [`Call::finish_once`] for bodies that must not run twice).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::Runtime;
use crate::backend::{Backend, Connection, Fault, FaultKind};
use crate::cluster::{Cluster, NodeState, Topology};
use crate::context::{self, Context};
use crate::error::{Error, Reason, Refusal, Waiting};
use crate::observe::{MethodCalls, Outcome};
use crate::op::{Intent, Lane, Op};
use crate::pool::Lease;
use crate::position::Position;
use crate::route::{Freshness, Plan, Signs, Target, Wishes, plan};

/// One call of a method, from its routing to its result.
pub struct Call<'a, B: Backend> {
    runtime: &'a Arc<Runtime<B>>,
    op: &'static Op,
    counts: Arc<MethodCalls>,
    context: Option<Context>,
    started: Instant,
    deadline: Instant,
    plan: Option<Plan>,
    next: usize,
    at: Option<Target>,
    reruns: u32,
    refusals: Vec<Refusal>,
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

/// What is to be done after a body has run.
enum Verdict<T, E> {
    Return(Result<T, E>, Outcome),
    RunAgain,
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
            plan: None,
            next: 0,
            at: None,
            reruns: 0,
            refusals: Vec::new(),
        }
    }

    /// Lends the connection that the body is to run on, ready for it: routed, checked, in a transaction if it writes.
    ///
    /// # Errors
    /// When the call must not run here ([`Error::NestedCall`]), no node can take it, or its time is up.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn acquire(&mut self) -> Result<Lease<B>, B::Error> {
        match self.find_connection().await {
            Ok(lease) => Ok(lease),
            Err(error) => {
                self.counts.refused();
                Err(error.into())
            }
        }
    }

    async fn find_connection(&mut self) -> Result<Lease<B>, Error> {
        let method = self.op.name();
        if let Some(outer) = context::holder() {
            return Err(Error::NestedCall { inner: method, outer: outer.name() });
        }
        if self.runtime.is_closing() {
            return Err(Error::ShuttingDown { method });
        }
        loop {
            let Some(target) = self.next_target() else {
                return Err(self.nobody());
            };
            match self.try_target(target).await {
                Ok(lease) => {
                    self.at = Some(target);
                    return Ok(lease);
                }
                Err(Refused::Here(refusal)) => {
                    if refusal.reason.is_node_fault() {
                        self.runtime.cluster.suspect(target.node);
                    }
                    self.refusals.push(refusal);
                }
                Err(Refused::Call(error)) => return Err(error),
            }
            if Instant::now() >= self.deadline {
                return Err(Error::Deadline {
                    method,
                    after: self.started.elapsed(),
                    doing: Waiting::Connection,
                    cause: self.refusals.pop(),
                });
            }
        }
    }

    fn next_target(&mut self) -> Option<Target> {
        let plan = match self.plan {
            Some(plan) => plan,
            None => {
                let made = self.make_plan();
                self.plan = Some(made);
                self.next = 0;
                made
            }
        };
        let target = plan.get(self.next)?;
        self.next += 1;
        Some(target)
    }

    fn make_plan(&self) -> Plan {
        let cluster = &self.runtime.cluster;
        let topology = cluster.topology();
        let routing = &self.runtime.config.routing;
        let wishes = Wishes {
            max_lag: routing.max_lag,
            token: self.context.as_ref().and_then(Context::latest_token),
            primary_only: self.context.as_ref().is_some_and(Context::needs_primary),
            worth_waiting: routing.own_write_wait.max(self.runtime.config.cluster.probe_interval * 2),
        };
        let turn = match self.op.lane() {
            Lane::Read => self.runtime.turn.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        plan(self.op, &topology, wishes, turn, &Known { cluster, topology: &topology })
    }

    async fn try_target(&mut self, target: Target) -> Result<Lease<B>, Refused> {
        let pool = self.runtime.pool(target.node, target.lane);
        // A pooled connection may have died a moment ago: those that did are closed, and the next one is tried.
        loop {
            let mut lease =
                pool.acquire(self.op, self.deadline, !context::must_not_queue()).await.map_err(Refused::Here)?;
            lease.begin_call(self.context.is_some());
            if self.is_ready_at_once(target) {
                return Ok(lease);
            }
            match timeout_at(self.deadline, self.prepare(&mut lease, target)).await {
                Ok(Ok(true)) => return Ok(lease),
                Ok(Ok(false)) => {
                    return Err(Refused::Here(self.refusal(
                        target,
                        Reason::Behind,
                        "it has not replayed what this caller has written",
                    )));
                }
                Ok(Err(fault)) if fault.kind.suspects_node() => {
                    lease.close();
                    self.runtime.cluster.suspect(target.node);
                    if self.runtime.cluster.topology().nodes[target.node].state == NodeState::Unreachable {
                        return Err(Refused::Here(self.refusal(target, Reason::NotReady, &fault.message)));
                    }
                }
                Ok(Err(fault)) if fault.kind.may_succeed_elsewhere() => {
                    return Err(Refused::Here(self.refusal(target, Reason::Other, &fault.message)));
                }
                Ok(Err(fault)) => return Err(Refused::Call(self.database_error("BEGIN", target, fault))),
                Err(_) => {
                    return Err(Refused::Call(Error::Deadline {
                        method: self.op.name(),
                        after: self.started.elapsed(),
                        doing: Waiting::Connection,
                        cause: None,
                    }));
                }
            }
        }
    }

    /// Whether a connection of the target's lane serves as it is: no server is asked and no timer set for the most usual call.
    fn is_ready_at_once(&self, target: Target) -> bool {
        target.lane != Lane::Critical && target.freshness == Freshness::Any && !self.op.in_transaction()
    }

    /// Makes a connection ready for the body; false when the node's data is too old for the caller.
    async fn prepare(&self, lease: &mut Lease<B>, target: Target) -> Result<bool, Fault> {
        if target.lane == Lane::Critical {
            lease.set_read_only(self.op.intent() == Intent::Read).await?;
        }
        if let Freshness::Reaches(wanted) = target.freshness
            && !self.wait_until_visible(lease, target.node, wanted).await?
        {
            return Ok(false);
        }
        if self.op.in_transaction() {
            lease.begin().await?;
        }
        Ok(true)
    }

    async fn wait_until_visible(&self, lease: &mut Lease<B>, node: usize, wanted: Position) -> Result<bool, Fault> {
        let cluster = &self.runtime.cluster;
        let give_up = Instant::now() + self.runtime.config.routing.own_write_wait;
        // A busy replica should spend its time on replaying, not on answering this question: it is asked ever less often, and
        // what it has answered to others counts.
        let mut pause = Duration::from_millis(1);
        loop {
            let visible = lease.visible().await?;
            cluster.shows(node, visible);
            let known = cluster.visible(&cluster.topology(), node);
            if visible.covers(wanted) || known.is_some_and(|known| known.covers(wanted)) {
                cluster.waited_for(node, true);
                return Ok(true);
            }
            if Instant::now() >= give_up {
                cluster.waited_for(node, false);
                return Ok(false);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Runs a body, until the call's time is up or its node is lost.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body; what it left running on the server is cancelled when its lease is dropped.
    pub async fn run<F: Future>(&mut self, body: F) -> Attempt<F::Output> {
        let node = self.at.map_or(0, |target| target.node);
        let cluster = &self.runtime.cluster;
        let mut body = pin!(context::holding(self.op, body));
        let mut lost = pin!(cluster.lost(node));
        let mut timer = pin!(sleep_until(self.deadline));
        poll_fn(|cx| {
            if let Poll::Ready(result) = body.as_mut().poll(cx) {
                return Poll::Ready(Attempt::Done(result));
            }
            if lost.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Attempt::NodeLost);
            }
            timer.as_mut().poll(cx).map(|()| Attempt::OutOfTime)
        })
        .await
    }

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
        let refuse = |error: Error| Verdict::Return(Err(E::from(error.into())), Outcome::InfrastructureError);
        match attempt {
            Attempt::Done(Ok(value)) => match self.commit(&mut lease).await {
                Ok(()) => Verdict::Return(Ok(value), Outcome::Ok),
                Err(error) => refuse(error),
            },
            Attempt::Done(Err(error)) => {
                let fault = lease.fault();
                let kind = fault.as_ref().map(|f| f.kind);
                if let (Some(fault), Intent::Read) = (&fault, self.op.intent())
                    && fault.kind == FaultKind::ReadOnly
                {
                    return refuse(Error::WroteInRead { method: self.op.name(), message: fault.message.clone() });
                }
                self.roll_back(&mut lease).await;
                if kind.is_some_and(FaultKind::suspects_node) {
                    self.suspect();
                    lease.close();
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
                lease.close();
                if self.may_run_again() {
                    return Verdict::RunAgain;
                }
                refuse(self.lost_in_body())
            }
            Attempt::OutOfTime => {
                drop(lease);
                refuse(Error::Deadline {
                    method: self.op.name(),
                    after: self.started.elapsed(),
                    doing: Waiting::Body,
                    cause: self.refusals.pop(),
                })
            }
        }
    }

    async fn commit(&mut self, lease: &mut Lease<B>) -> Result<(), Error> {
        if self.op.intent() == Intent::Read {
            return Ok(());
        }
        let target = self.at.ok_or_else(|| self.nobody())?;
        if self.op.in_transaction() {
            match timeout_at(self.deadline, lease.commit()).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) if fault.kind == FaultKind::RolledBack => {
                    return Err(Error::RolledBack { method: self.op.name() });
                }
                Ok(Err(fault)) if fault.kind.suspects_node() => {
                    self.suspect();
                    return Err(self.outcome_unknown(target, fault.message));
                }
                Ok(Err(fault)) => return Err(self.database_error("COMMIT", target, fault)),
                Err(_) => return Err(self.outcome_unknown(target, "COMMIT was not answered in time".into())),
            }
        }
        let Some(context) = &self.context else {
            return Ok(());
        };
        let position = match lease.committed_at() {
            Some(position) => Some(position),
            // The data is safe whatever happens now: without the position, later reads merely go to the primary.
            None => timeout_at(self.deadline, lease.log_end()).await.ok().and_then(Result::ok),
        };
        match position {
            Some(position) => context.wrote(position),
            None => context.wrote_unseen(),
        }
        Ok(())
    }

    async fn roll_back(&self, lease: &mut Lease<B>) {
        if self.op.in_transaction() {
            // What cannot be rolled back in time is closed when the lease is dropped.
            let until = self.deadline.max(Instant::now() + Duration::from_millis(100));
            let _ = timeout_at(until, lease.rollback()).await;
        }
    }

    fn may_run_again(&self) -> bool {
        self.op.may_run_again() && self.reruns + 1 < self.runtime.config.call.attempts && Instant::now() < self.deadline
    }

    fn suspect(&self) {
        if let Some(target) = self.at {
            self.runtime.cluster.suspect(target.node);
        }
    }

    fn record(&self, outcome: Outcome) {
        if let Some(target) = self.at {
            self.counts.series(target.node, target.lane).record(outcome, self.started.elapsed());
        }
    }

    fn refusal(&self, target: Target, reason: Reason, detail: &str) -> Refusal {
        Refusal {
            node: self.runtime.cluster.names()[target.node].clone(),
            lane: target.lane,
            reason,
            detail: detail.to_owned(),
            retry_after: None,
        }
    }

    /// The plan is exhausted: what each node said, and why others were not asked.
    fn nobody(&self) -> Error {
        let mut refusals = self.refusals.clone();
        let topology = self.runtime.cluster.topology();
        for node in topology.nodes.iter().filter(|n| n.state != NodeState::Healthy) {
            if !refusals.iter().any(|r| r.node == node.name) {
                refusals.push(Refusal {
                    node: node.name.clone(),
                    lane: self.op.lane(),
                    reason: Reason::NoPrimary,
                    detail: node.cause.clone().unwrap_or_else(|| "not asked yet".into()),
                    retry_after: Some(self.runtime.config.cluster.probe_interval),
                });
            }
        }
        if refusals.is_empty() && topology.primary.is_none() {
            refusals.push(Refusal {
                node: "every node".into(),
                lane: self.op.lane(),
                reason: Reason::NoPrimary,
                detail: "none of the configured servers is a primary; add the primary's URL to [database]".into(),
                retry_after: Some(self.runtime.config.cluster.probe_interval),
            });
        }
        Error::Unavailable { method: self.op.name(), refusals }
    }

    /// The node died under a write: inside a transaction nothing was committed, otherwise nobody knows.
    fn lost_in_body(&self) -> Error {
        match self.at {
            Some(target) if !self.op.in_transaction() && self.op.intent() == Intent::Write => {
                self.outcome_unknown(target, "the node stopped answering".into())
            }
            Some(target) => Error::Unavailable {
                method: self.op.name(),
                refusals: vec![self.refusal(
                    target,
                    Reason::NotReady,
                    "the node stopped answering; nothing was committed",
                )],
            },
            None => self.nobody(),
        }
    }

    fn outcome_unknown(&self, target: Target, message: String) -> Error {
        Error::OutcomeUnknown {
            method: self.op.name(),
            node: self.runtime.cluster.names()[target.node].to_string(),
            message,
        }
    }

    fn database_error(&self, doing: &'static str, target: Target, fault: Fault) -> Error {
        Error::Database {
            method: self.op.name(),
            node: self.runtime.cluster.names()[target.node].to_string(),
            doing,
            message: fault.message,
            sqlstate: fault.sqlstate,
        }
    }
}

/// Why a target did not take the call.
enum Refused {
    /// Another target may.
    Here(Refusal),
    /// The call is over.
    Call(Error),
}

/// The cluster as the router asks for it.
struct Known<'a> {
    cluster: &'a Cluster,
    topology: &'a Topology,
}

impl Signs for Known<'_> {
    fn is_suspect(&self, node: usize) -> bool {
        self.cluster.is_suspect(node)
    }

    fn visible(&self, node: usize) -> Option<Position> {
        self.cluster.visible(self.topology, node)
    }

    fn keeps_waiting(&self, node: usize) -> bool {
        self.cluster.keeps_waiting(node)
    }
}
