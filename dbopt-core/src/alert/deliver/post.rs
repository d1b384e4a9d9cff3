//! A channel at work: its queue, its receiver, and the task between them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::queue::{Delivered, Limits, Next, Queue};
use super::{Failure, Notifier};
use crate::alert::notification::{Message, Notification};
use crate::random;

/// A channel: news go in at once, a task brings them out.
#[derive(Debug)]
pub struct Post {
    notifier: Box<dyn Notifier>,
    patience: Duration,
    queue: Mutex<Queue>,
    news: Notify,
}

impl Post {
    /// A channel to a receiver that may take `patience` to answer.
    pub fn new(notifier: Box<dyn Notifier>, limits: Limits, patience: Duration) -> Arc<Self> {
        let limits = Limits { joins: notifier.joins(), ..limits };
        let queue = Mutex::new(Queue::new(limits, Instant::now()));
        Arc::new(Post { notifier, patience, queue, news: Notify::new() })
    }

    /// The channel's name.
    pub fn name(&self) -> &'static str {
        self.notifier.name()
    }

    /// Adds news, without waiting for anything.
    pub fn tell(&self, news: Notification) {
        let dropped = self.queue.lock().push(news);
        if dropped > 0 {
            tracing::error!(
                channel = self.name(),
                dropped,
                "alerts are not told, as too many wait for this channel: see why its receiver does not take them"
            );
        }
        self.news.notify_one();
    }

    /// What became of messages so far.
    pub fn counts(&self) -> Delivered {
        self.queue.lock().counts()
    }

    /// Whether everything is said.
    pub fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    /// Brings news out, for ever.
    ///
    /// # Cancel safety
    /// What is not taken when the future is dropped is lost.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.queue.lock().next(Instant::now(), random::id);
            match next {
                Next::Send(message) => self.send(&message).await,
                Next::Wait(time) => sleep(time).await,
                Next::Rest => self.news.notified().await,
            }
        }
    }

    async fn send(&self, message: &Message) {
        let late = || Err(Failure::passing(format!("no answer within {}", humantime::format_duration(self.patience))));
        let result = timeout(self.patience, self.notifier.deliver(message)).await.unwrap_or_else(|_| late());
        let failure = match result {
            Ok(answer) => {
                self.queue.lock().taken();
                tracing::debug!(channel = self.name(), answer, "an alert was taken");
                return;
            }
            Err(failure) => failure,
        };
        let (again, failures) = {
            let mut queue = self.queue.lock();
            let again = queue.failed(&failure, Instant::now(), random::fraction());
            (again, queue.failures())
        };
        let (channel, why) = (self.name(), &failure.why);
        match again {
            // The first says it; that it goes on failing is in the metrics.
            Some(_) if failures == 1 => tracing::warn!(channel, why, "an alert was not taken; it is sent again"),
            Some(_) => tracing::debug!(channel, why, failures, "an alert was not taken again"),
            None => tracing::error!(channel, why, alert = message.title(), "an alert could not be delivered"),
        }
    }
}

#[cfg(test)]
#[path = "post/tests.rs"]
mod tests;
