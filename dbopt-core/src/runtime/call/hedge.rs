//! A read that takes long is asked of another replica too, and the first answer counts.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::time::Instant;

use super::{Attempt, Call};
use crate::backend::{Backend, Connection, Fault, FaultKind};
use crate::context;
use crate::op::{Intent, Lane};
use crate::pool::Lease;
use crate::position::Position;
use crate::random;
use crate::route::{Freshness, Target};
use crate::runtime::hedging::Hedged;
use crate::timer::Timer;

/// How far a body came that may be run on another replica beside.
#[derive(Debug)]
pub enum Begun<B: Backend, R> {
    /// It is through.
    Ended(Attempt<R>),
    /// It takes long: it is to be run on this connection, too, while it goes on on its own.
    Slow(Lease<B>),
}

/// The second attempt of a call.
pub(super) struct Hedge<B: Backend> {
    target: Target,
    began: Instant,
    read_at: Option<Position>,
    /// Its connection, once it has answered.
    winner: Option<Lease<B>>,
}

/// What happens first when two replicas have the same read.
enum Race<B: Backend, R> {
    First(Attempt<R>),
    Second(Lease<B>, R),
    SecondLost,
}

impl<B: Backend> Call<'_, B> {
    /// Runs a read's body, until it is through or has taken so long that another replica is to be asked too.
    ///
    /// # Cancel safety
    /// As for [`Call::run`]; the body goes on where it was if it is polled again.
    pub async fn begin<F: Future>(&mut self, mut body: Pin<&mut F>) -> Begun<B, F::Output> {
        let Some(patience) = self.hedges_at() else { return Begun::Ended(self.run(body).await) };
        match self.run_until(body.as_mut(), patience).await {
            Attempt::OutOfTime => {}
            ended => return Begun::Ended(ended),
        }
        match self.second_lease() {
            Some(lease) => Begun::Slow(lease),
            None => Begun::Ended(self.run(body).await),
        }
    }

    /// Goes on with the first attempt beside the second, which gives its connection back with its result. The second one's answer counts, an
    /// error of its node does not.
    ///
    /// # Cancel safety
    /// As for [`Call::run`].
    pub async fn race<T, E, F, G>(&mut self, mut first: Pin<&mut F>, second: Pin<&mut G>) -> Attempt<Result<T, E>>
    where
        F: Future<Output = Result<T, E>>,
        G: Future<Output = (Lease<B>, Result<T, E>)>,
    {
        let Some(other) = self.hedge.as_ref().map(|hedge| hedge.target.node) else { return self.run(first).await };
        match self.first_of(first.as_mut(), second, other).await {
            Race::First(attempt) => return attempt,
            Race::Second(mut lease, result) => {
                let fault = if result.is_err() { failure(&mut lease) } else { None };
                if let Some(fault) = fault {
                    self.second_failed(Some((lease, fault)));
                } else {
                    self.second_answered(lease);
                    return Attempt::Done(result);
                }
            }
            Race::SecondLost => self.second_failed(None),
        }
        self.run(first).await
    }

    /// Ends the race: makes the connection whose answer counts the call's own. A first attempt that failed for its node's reasons gives the second one
    /// the time to answer.
    ///
    /// # Cancel safety
    /// As for [`Call::run`].
    pub async fn settle<T, E, G>(
        &mut self,
        lease: &mut Lease<B>,
        attempt: Attempt<Result<T, E>>,
        mut second: Pin<Box<G>>,
    ) -> Attempt<Result<T, E>>
    where
        G: Future<Output = (Lease<B>, Result<T, E>)>,
    {
        let Some(hedge) = &self.hedge else { return attempt };
        if hedge.winner.is_some() {
            self.changes_to_second(lease, None);
            return attempt;
        }
        let fault = match &attempt {
            Attempt::Done(Err(_)) => failure(lease),
            Attempt::NodeLost => Some(Fault::lost("the node stopped answering")),
            _ => None,
        };
        let Some(fault) = fault else {
            let late = matches!(attempt, Attempt::OutOfTime);
            self.runtime.hedges.count(if late { Hedged::Failed } else { Hedged::Lost });
            self.hedge = None;
            return attempt;
        };
        let first = self.at.replace(hedge.target);
        let last = self.run(second.as_mut()).await;
        self.at = first;
        match last {
            Attempt::Done((mut other, result)) => match failure(&mut other).filter(|_| result.is_err()) {
                Some(fault) => self.second_failed(Some((other, fault))),
                None => {
                    self.second_answered(other);
                    self.changes_to_second(lease, Some(fault));
                    return Attempt::Done(result);
                }
            },
            Attempt::NodeLost | Attempt::OutOfTime => self.second_failed(None),
        }
        attempt
    }

    /// When another replica is asked too. Never, unless the method says so and the read is a plain one: on a replica, of nothing that its caller has
    /// written, by nobody who holds a connection already.
    fn hedges_at(&self) -> Option<Instant> {
        let after = self.op.hedged_after()?;
        if self.reruns > 0 || context::must_not_queue() {
            return None;
        }
        let target = self.at?;
        let on_replica = target.lane == Lane::Read && self.plan.is_some_and(|plan| plan.primary() != Some(target.node));
        let plain = on_replica && self.op.intent() == Intent::Read && target.freshness == Freshness::Any;
        if !plain || self.wished().is_some() || self.primary_only {
            return None;
        }
        Some(Instant::now() + after).filter(|at| *at < self.deadline)
    }

    /// A connection of another replica, if one idles there and the budget allows.
    fn second_lease(&mut self) -> Option<Lease<B>> {
        let (runtime, first) = (self.runtime, self.at?);
        // A turn of its own would be somebody's: with two replicas that take turns, the slow one's would come each time.
        let plan = self.plan_of_turn(random::number() as usize);
        let usable = |target: &Target| {
            target.node != first.node
                && target.freshness == Freshness::Any
                && !runtime.cluster.is_suspect(target.node)
                && runtime.pool(target.node, target.lane).circuit().is_closed()
        };
        let replicas = plan.targets().take_while(|target| plan.primary() != Some(target.node));
        let lend = |target: Target| Some((target, runtime.pool(target.node, target.lane).try_acquire(self.op)?));
        let (target, mut lease) = replicas.filter(usable).find_map(lend)?;
        // Last, so that only attempts that are made are paid for.
        if !runtime.may_hedge() {
            return None;
        }
        lease.begin_call(self.context.is_some());
        self.puts_its_name_on(&mut lease);
        let read_at = if self.notes_position { self.shown_by(target) } else { None };
        self.hedge = Some(Box::new(Hedge { target, began: Instant::now(), read_at, winner: None }));
        Some(lease)
    }

    async fn first_of<F: Future, G: Future<Output = (Lease<B>, F::Output)>>(
        &self,
        first: Pin<&mut F>,
        second: Pin<&mut G>,
        other: usize,
    ) -> Race<B, F::Output> {
        let cluster = &self.runtime.cluster;
        let mut first = pin!(context::holding(self.op, first));
        let mut second = pin!(context::holding(self.op, second));
        let mut lost = pin!(cluster.lost(self.at.map_or(0, |target| target.node)));
        let mut other_lost = pin!(cluster.lost(other));
        let race = poll_fn(|cx| {
            let _part = self.span.enter();
            if let Poll::Ready(result) = first.as_mut().poll(cx) {
                return Poll::Ready(Race::First(Attempt::Done(result)));
            }
            if let Poll::Ready((lease, result)) = second.as_mut().poll(cx) {
                return Poll::Ready(Race::Second(lease, result));
            }
            if lost.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Race::First(Attempt::NodeLost));
            }
            other_lost.as_mut().poll(cx).map(|()| Race::SecondLost)
        });
        let in_time = Timer::of(&self.runtime.timers).limit(self.deadline, race).await;
        in_time.unwrap_or(Race::First(Attempt::OutOfTime))
    }

    fn second_answered(&mut self, lease: Lease<B>) {
        self.runtime.hedges.count(Hedged::Won);
        if let Some(hedge) = &mut self.hedge {
            hedge.winner = Some(lease);
        }
    }

    /// The second attempt is over without an answer; what its node did counts as on any call.
    fn second_failed(&mut self, met: Option<(Lease<B>, Fault)>) {
        let runtime = self.runtime;
        runtime.hedges.count(Hedged::Failed);
        let Some(Hedge { target, began, .. }) = self.hedge.take().map(|hedge| *hedge) else { return };
        runtime.balancer.failed(target.node);
        let Some((lease, fault)) = met else { return };
        runtime.pool(target.node, target.lane).circuit().met(&fault, began);
        if fault.kind.suspects_node() {
            runtime.cluster.suspect(target.node);
            lease.close();
        }
    }

    /// From here on the call is the second attempt. Of the first it is told that it took so long at least, or what it met; its
    /// connection goes back, and what runs there is cancelled.
    fn changes_to_second(&mut self, lease: &mut Lease<B>, met: Option<Fault>) {
        let Some(hedge) = self.hedge.take() else { return };
        let Hedge { target, began, read_at, winner: Some(winner) } = *hedge else { return };
        let first = std::mem::replace(lease, winner);
        match met {
            Some(fault) => {
                self.node_failed(&fault);
                self.weighs_less();
                if fault.kind.suspects_node() {
                    self.suspect();
                    first.close();
                }
            }
            None => {
                self.node_was_slow();
                if let Some(at) = self.at {
                    self.counts.series(at.node, at.lane).given_up(self.came_at.elapsed());
                }
            }
        }
        self.at = Some(target);
        (self.came_at, self.got_at, self.read_at) = (began, began, read_at);
    }
}

/// What the lease met, if the same read may succeed elsewhere; anything else is an answer.
fn failure<B: Backend>(lease: &mut Lease<B>) -> Option<Fault> {
    lease.fault().filter(|fault| FaultKind::may_succeed_elsewhere(fault.kind))
}

#[cfg(test)]
mod tests;
