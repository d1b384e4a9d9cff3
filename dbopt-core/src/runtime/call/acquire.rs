//! From the call to a connection that is ready for its body.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Call;
use crate::backend::{Backend, Connection, Fault, OnBehalf};
use crate::cluster::{NodeState, Topology};
use crate::context::{self, Context};
use crate::error::{Error, Reason, Refusal, Waiting};
use crate::observe::Outcome;
use crate::op::{Intent, Lane};
use crate::pool::Lease;
use crate::position::Position;
use crate::route::balance::Turn;
use crate::route::{Freshness, Plan, Signs, Target, Wishes, plan};
use crate::runtime::Runtime;

impl<B: Backend> Call<'_, B> {
    /// Lends the connection that the body is to run on, ready for it: routed, checked, in a transaction if it writes.
    ///
    /// # Errors
    /// When the call must not run here ([`Error::NestedCall`]), no node can take it, or its time is up.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn acquire(&mut self) -> Result<Lease<B>, B::Error> {
        let found = match self.within_limits().await {
            Ok(()) => self.find_connection().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(lease) => {
                self.limits.begin_use();
                Ok(lease)
            }
            Err(error) => {
                if !matches!(error, Error::RateLimited { .. }) {
                    self.counts.refused();
                }
                self.outcome = Outcome::InfrastructureError;
                self.span.ended(self.outcome);
                self.own_error = Some(error.clone());
                Err(error.into())
            }
        }
    }

    pub(in crate::runtime) async fn find_connection(&mut self) -> Result<Lease<B>, Error> {
        let method = self.op.name();
        if let Some(outer) = context::holder() {
            return Err(Error::NestedCall { inner: method, outer: outer.name() });
        }
        if self.runtime.is_closing() {
            return Err(Error::ShuttingDown { method });
        }
        self.take_turn().await?;
        loop {
            let Some(target) = self.next_target() else {
                // Rare, so they take no room in every call's future.
                if Box::pin(self.waits_for_a_primary()).await? || Box::pin(self.waits_to_look_again()).await {
                    self.came_at = Instant::now();
                    continue;
                }
                return Err(self.nobody());
            };
            match self.try_target(target).await {
                Ok(lease) => {
                    self.at = Some(target);
                    self.span.at(|| self.runtime.cluster.name(target.node));
                    if !self.runtime.config.breaker.slow_call.is_zero() {
                        self.got_at = Instant::now();
                    }
                    // Only what may be cached is asked how new it is.
                    if self.notes_position {
                        self.read_at = self.shown_by(target);
                    }
                    return Ok(lease);
                }
                Err(Refused::Here(refusal)) => {
                    if refusal.reason.tells_of_load() || refusal.reason.is_node_fault() {
                        self.runtime.balancer.failed(target.node);
                    }
                    if refusal.reason.is_node_fault() {
                        self.runtime.cluster.suspect(target.node);
                    }
                    self.refusals.push(refusal);
                }
                Err(Refused::Outdated) => self.plan = None,
                Err(Refused::Call(error)) => return Err(error),
            }
            self.came_at = Instant::now();
            if self.came_at >= self.deadline {
                return Err(self.out_of_time(Waiting::Connection));
            }
        }
    }

    /// What readers of the target see at least: what it is known to show, and what it was chosen or checked for.
    pub(super) fn shown_by(&self, target: Target) -> Option<Position> {
        let topology = self.runtime.cluster.topology();
        Position::later(self.runtime.cluster.visible(&topology, target.node), self.wished())
    }

    /// What the call must see: what its load asks for, and what its caller has written.
    pub(super) fn wished(&self) -> Option<Position> {
        let token = self.context.as_ref().and_then(Context::latest_token);
        if self.required.is_none() && token.is_none() {
            return None;
        }
        let topology = self.runtime.cluster.topology();
        let carried_over = |position| topology.carried_over(position).0;
        Position::later(self.required.map(carried_over), token.map(carried_over))
    }

    /// Notes that what the caller has written was lost when another node became the primary.
    fn note_a_lost_write(&self) {
        let Some((context, token)) = self.context.as_ref().and_then(|c| c.latest_token().map(|token| (c, token)))
        else {
            return;
        };
        let topology = self.runtime.cluster.topology();
        if topology.timeline != token.timeline && topology.carried_over(token).1 && context.lost_writes() {
            self.runtime.takeovers.token_lost();
            tracing::debug!(method = self.op.name(), %token, "what its caller had written was lost in a failover");
        }
    }

    fn next_target(&mut self) -> Option<Target> {
        let plan = match self.plan {
            Some(plan) => plan,
            None => {
                self.note_a_lost_write();
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

    pub(super) fn make_plan(&self) -> Plan {
        let number = match self.op.lane() {
            Lane::Read => self.runtime.balancer.next_turn(),
            _ => 0,
        };
        self.plan_of_turn(number)
    }

    pub(super) fn plan_of_turn(&self, number: usize) -> Plan {
        let cluster = &self.runtime.cluster;
        let topology = cluster.topology();
        let routing = &self.runtime.config.routing;
        let wishes = Wishes {
            max_lag: routing.max_lag,
            token: self.wished(),
            primary_only: self.primary_only || self.context.as_ref().is_some_and(Context::needs_primary),
            worth_waiting: routing.own_write_wait.max(self.runtime.config.cluster.probe_interval * 2),
        };
        let turn = Turn { schedule: &self.runtime.balancer.schedule(), number };
        plan(self.op, &topology, wishes, turn, &Known { runtime: self.runtime, topology: &topology })
    }

    async fn try_target(&mut self, target: Target) -> Result<Lease<B>, Refused> {
        let runtime = self.runtime;
        let pool = runtime.pool(target.node, target.lane);
        self.stand_in = None;
        if target.stands_in {
            let entered = runtime.stand_ins.enter(self.deadline, !context::must_not_queue()).await;
            let refused = |reason| runtime.stand_ins.refusal(runtime.cluster.name(target.node), reason);
            self.stand_in = Some(entered.map_err(|reason| Refused::Here(refused(reason)))?);
        }
        // A pooled connection may have died a moment ago: those that did are closed, and the next one is tried.
        loop {
            let may_wait = !context::must_not_queue();
            let lent = {
                let asked = pin!(pool.acquire_with(&mut self.timer, self.op, self.deadline, may_wait));
                self.span.waits(|| runtime.cluster.name(target.node), target.lane, asked).await
            };
            let mut lease = lent.map_err(Refused::Here)?;
            if self.is_outdated(target) {
                lease.close();
                return Err(Refused::Outdated);
            }
            lease.begin_call(self.context.is_some() || !self.after.is_empty());
            self.puts_its_name_on(&mut lease);
            let ready = if self.is_ready_at_once(target) {
                Ok(Some(Ok(true)))
            } else {
                timeout_at(self.deadline, self.prepare_there(&mut lease, target)).await
            };
            let ready = match ready {
                // The server itself says so, with what it has answered last: nothing of the body was sent.
                Ok(Some(Ok(true))) if self.op.intent() == Intent::Write && lease.refuses_writes() => {
                    lease.close();
                    runtime.cluster.suspect(target.node);
                    let text = "it takes no writes any more";
                    return Err(Refused::Here(self.refusal(target, Reason::NoPrimary, text)));
                }
                Ok(None) => {
                    lease.close();
                    let text = "it was lost before the transaction began";
                    return Err(Refused::Here(self.refusal(target, Reason::NotReady, text)));
                }
                Ok(Some(ready)) => Ok(ready),
                Err(late) => Err(late),
            };
            match ready {
                Ok(Ok(true)) => return Ok(lease),
                Ok(Ok(false)) => {
                    return Err(Refused::Here(self.refusal(
                        target,
                        Reason::Behind,
                        "it has not replayed what this caller has written",
                    )));
                }
                Ok(Err(fault)) if fault.kind.suspects_node() => {
                    pool.circuit().met(&fault, Instant::now());
                    lease.close();
                    self.runtime.cluster.suspect(target.node);
                    if self.runtime.cluster.topology().nodes[target.node].state == NodeState::Unreachable {
                        return Err(Refused::Here(self.refusal(target, Reason::NotReady, &fault.message)));
                    }
                }
                Ok(Err(fault)) if fault.kind.may_succeed_elsewhere() => {
                    pool.circuit().met(&fault, Instant::now());
                    return Err(Refused::Here(self.refusal(target, Reason::Other, &fault.message)));
                }
                Ok(Err(fault)) => return Err(Refused::Call(self.database_error("BEGIN", target, fault))),
                Err(_) => {
                    return Err(Refused::Call(self.out_of_time(Waiting::Connection)));
                }
            }
        }
    }

    /// Says for which method and caller the statements are that follow on the connection, where they are watched.
    pub(super) fn puts_its_name_on(&self, lease: &mut Lease<B>) {
        if self.runtime.insight.is_enabled() {
            let (context, waited) = (self.context.as_ref(), self.started.elapsed());
            lease.works_for(OnBehalf { op: self.op, context, waited, span: self.span.get() });
        }
    }

    /// Whether the target was chosen as the primary, and another node has become it while the call waited: a connection of an old epoch
    /// is not used.
    fn is_outdated(&self, target: Target) -> bool {
        let planned = self.plan.and_then(|plan| plan.primary());
        planned == Some(target.node) && self.runtime.cluster.topology().primary != planned
    }

    /// Whether a connection of the target's lane serves as it is: no server is asked and no timer set for the most usual call.
    fn is_ready_at_once(&self, target: Target) -> bool {
        target.lane != Lane::Critical && target.freshness == Freshness::Any && !self.op.in_transaction()
    }

    /// Makes a connection ready for the body; `None` when its node is lost meanwhile.
    async fn prepare_there(&mut self, lease: &mut Lease<B>, target: Target) -> Option<Result<bool, Fault>> {
        let runtime = self.runtime;
        let lost = runtime.cluster.lost(target.node);
        tokio::select! {
            biased;
            ready = self.prepare(lease, target) => Some(ready),
            () = lost => None,
        }
    }

    /// Makes a connection ready for the body; false when the node's data is too old for the caller.
    async fn prepare(&mut self, lease: &mut Lease<B>, target: Target) -> Result<bool, Fault> {
        if target.lane == Lane::Critical {
            lease.set_read_only(self.op.intent() == Intent::Read).await?;
        }
        if let Freshness::Reaches(wanted) = target.freshness
            && !self.wait_until_visible(lease, target.node, wanted).await?
        {
            return Ok(false);
        }
        if self.op.in_transaction() && self.runtime.config.call.resolve_outcome {
            self.mark = lease.begin_marked().await?;
        } else if self.op.in_transaction() {
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

    /// The plan is exhausted: what each node said, and why others were not asked.
    pub(super) fn nobody(&self) -> Error {
        Error::Unavailable { method: self.op.name(), refusals: self.refusals_of_all() }
    }

    pub(super) fn refusals_of_all(&self) -> Vec<Refusal> {
        let mut refusals = self.refusals.clone();
        let topology = self.runtime.cluster.topology();
        for node in topology.nodes().filter(|n| !n.state.serves()) {
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
        refusals
    }
}

/// Why a target did not take the call.
enum Refused {
    /// Another target may.
    Here(Refusal),
    /// Its node is not the primary any more: the plan is to be made anew.
    Outdated,
    /// The call is over.
    Call(Error),
}

/// The cluster as the router asks for it.
struct Known<'a, B: Backend> {
    runtime: &'a Runtime<B>,
    topology: &'a Topology,
}

impl<B: Backend> Signs for Known<'_, B> {
    fn is_suspect(&self, node: usize) -> bool {
        self.runtime.cluster.is_suspect(node)
    }

    fn visible(&self, node: usize) -> Option<Position> {
        self.runtime.cluster.visible(self.topology, node)
    }

    fn keeps_waiting(&self, node: usize) -> bool {
        self.runtime.cluster.keeps_waiting(node)
    }

    fn load(&self, node: usize) -> u32 {
        self.runtime.pool(node, Lane::Read).load()
    }
}
