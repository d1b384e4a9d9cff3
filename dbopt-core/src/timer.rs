//! Timers to be used again.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::owner::Parts;

/// Timers that nobody uses now. To register one with the runtime and to take it off again are two turns at a lock that all threads share, so
/// they are kept, registered as they were, and left so by the next call while that is before its time: one that comes too early is set anew.
/// One whose time comes while it is here wakes, at the worst, a task that has ended.
#[derive(Debug, Default)]
pub(crate) struct Timers(Parts<Mutex<Vec<Kept>>, 8>);

/// So many are kept in each part: about as many calls as wait at a time.
const KEPT: usize = 128;

#[derive(Debug)]
struct Kept {
    sleep: Pin<Box<Sleep>>,
    /// The runtime it was made on: it turns no further when that one does not.
    runtime: Id,
}

impl Timers {
    /// One that serves on the runtime of this task.
    fn take(&self) -> Option<Kept> {
        let kept = self.0.own().lock().pop()?;
        Handle::try_current().is_ok_and(|here| here.id() == kept.runtime).then_some(kept)
    }

    fn keep(&self, kept: Kept) {
        let mut part = self.0.own().lock();
        if part.len() < KEPT {
            part.push(kept);
        }
    }
}

/// The timer of a call, for all that it waits for: had when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Timer<'a> {
    /// Where it comes from and goes back to.
    timers: Option<&'a Timers>,
    kept: Option<Kept>,
}

impl<'a> Timer<'a> {
    pub(crate) fn of(timers: &'a Timers) -> Self {
        Timer { timers: Some(timers), kept: None }
    }

    /// Makes it ring at `until` at the latest.
    fn set(&mut self, until: Instant) {
        if self.kept.is_none() {
            self.kept = self.timers.and_then(Timers::take);
        }
        match &mut self.kept {
            Some(kept) if kept.sleep.deadline() <= until => {}
            Some(kept) => kept.sleep.as_mut().reset(until),
            None => {
                self.kept = Some(Kept { sleep: Box::pin(sleep_until(until)), runtime: Handle::current().id() });
            }
        }
    }

    /// Whether the time has come that it was set to.
    fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let Some(kept) = &mut self.kept else { return Poll::Pending };
        ready!(kept.sleep.as_mut().poll(cx));
        if kept.sleep.deadline() >= until {
            return Poll::Ready(());
        }
        kept.sleep.as_mut().reset(until);
        kept.sleep.as_mut().poll(cx)
    }

    /// What `future` gives, unless `until` comes first; then nothing.
    ///
    /// # Cancel safety
    /// That of `future`.
    pub(crate) async fn limit<F: Future>(&mut self, until: Instant, future: F) -> Option<F::Output> {
        let (mut future, mut begun) = (pin!(future), false);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            if !std::mem::replace(&mut begun, true) {
                self.set(until);
            }
            self.poll(until, cx).map(|()| None)
        })
        .await
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let (Some(timers), Some(kept)) = (self.timers, self.kept.take()) {
            timers.keep(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;
    use tokio::runtime::Builder;

    fn kept(timers: &Timers) -> usize {
        timers.0.iter().map(|part| part.lock().len()).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_moved_later_and_earlier_and_used_again_when_it_was_over() {
        let (timers, begin) = (Timers::default(), Instant::now());
        let mut timer = Timer::of(&timers);
        assert_eq!(timer.limit(begin, async { 1 }).await, Some(1));
        assert!(timer.kept.is_none(), "what is there at once needs none");
        for after in [20, 50, 30, 90] {
            let until = begin + Duration::from_millis(after);
            assert_eq!(timer.limit(until, pending::<()>()).await, None);
            assert!(begin.elapsed() >= Duration::from_millis(after) && begin.elapsed() < Duration::from_millis(92));
        }
        assert_eq!(begin.elapsed().as_millis(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_early_wakes_nobody_late() {
        let (timers, begin) = (Timers::default(), Instant::now());
        for round in 1..=3 {
            let mut timer = Timer::of(&timers);
            let soon = tokio::time::timeout(
                Duration::from_millis(5),
                timer.limit(Instant::now() + Duration::from_millis(20), pending::<()>()),
            );
            assert!(soon.await.is_err());
            drop(timer);
            assert_eq!(kept(&timers), 1, "round {round} has used it again");
        }
        let mut timer = Timer::of(&timers);
        assert_eq!(timer.limit(begin + Duration::from_millis(60), pending::<()>()).await, None);
        assert_eq!(begin.elapsed().as_millis(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_the_same_time_have_one_each_and_only_so_many_are_kept() {
        let (timers, begin) = (Timers::default(), Instant::now());
        let calls = (1..=3 * KEPT as u64).map(|n| {
            let (timers, until) = (&timers, begin + Duration::from_millis(n));
            async move {
                assert_eq!(Timer::of(timers).limit(until, pending::<()>()).await, None);
                assert!(begin.elapsed().as_millis() as u64 >= n);
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(kept(&timers), KEPT);
    }

    /// One of a runtime that is over would panic, one of a runtime that is not driven would never come.
    #[test]
    fn one_of_another_runtime_is_not_used() {
        let timers = Timers::default();
        let wait = async || {
            let until = Instant::now() + Duration::from_millis(5);
            Timer::of(&timers).limit(until, pending::<()>()).await
        };
        let runtime = || Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let over = runtime();
        over.block_on(wait());
        drop(over);
        let idle = runtime();
        idle.block_on(wait());
        runtime().block_on(wait());
        assert_eq!(kept(&timers), 1);
    }
}
