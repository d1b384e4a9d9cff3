//! One timer for all that a call waits for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is set when it is first needed, and moved to a later time afterwards. To register one with the runtime and to take it off again
/// are two turns at a lock that all threads share; to move one that is registered is none.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether it was set before.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Sets it, or moves it.
    pub(crate) fn set(&mut self, until: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(until),
            None => self.0 = Some(Box::pin(sleep_until(until))),
        }
    }

    /// Whether its time has come; never, if it was not set.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
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
            self.poll(cx).map(|()| None)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_is_moved_later_and_earlier_and_used_again_when_it_was_over() {
        let (mut timer, begin) = (Timer::default(), Instant::now());
        assert_eq!(timer.limit(begin, async { 1 }).await, Some(1));
        assert!(!timer.is_set(), "what is there at once needs none");
        for after in [20, 50, 30, 90] {
            let until = begin + Duration::from_millis(after);
            assert_eq!(timer.limit(until, pending::<()>()).await, None);
            assert!(begin.elapsed() >= Duration::from_millis(after) && begin.elapsed() < Duration::from_millis(92));
        }
        assert_eq!(begin.elapsed().as_millis(), 90);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_early_wakes_nobody_late() {
        let (mut timer, begin) = (Timer::default(), Instant::now());
        let soon = tokio::time::timeout(
            Duration::from_millis(5),
            timer.limit(begin + Duration::from_millis(20), pending::<()>()),
        );
        assert!(soon.await.is_err() && timer.is_set());
        assert_eq!(timer.limit(begin + Duration::from_millis(60), pending::<()>()).await, None);
        assert_eq!(begin.elapsed().as_millis(), 60);
    }
}
