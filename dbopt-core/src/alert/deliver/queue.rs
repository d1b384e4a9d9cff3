//! What one channel has still to say: in order, bounded, not too often. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Again, Failure};
use crate::alert::notification::{Message, Notification};
use crate::breaker::{Backoff, BackoffPolicy};

const HOUR: f64 = 3600.0;
const BACKOFF: BackoffPolicy = BackoffPolicy { initial: Duration::from_secs(1), max: Duration::from_secs(60) };

/// The bounds of a channel.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages in any hour.
    pub per_hour: u32,
    /// News that may wait.
    pub waiting: usize,
    /// How long a message is tried.
    pub retry_for: Duration,
    /// Whether the receiver joins news by key, so that each is sent alone.
    pub joins: bool,
}

/// What to do now.
#[derive(Debug)]
pub enum Next {
    /// Send this.
    Send(Message),
    /// Nothing for so long.
    Wait(Duration),
    /// Nothing until there is news.
    Rest,
}

/// What became of messages, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Messages that were taken.
    pub delivered: u64,
    /// Attempts that failed and were made again.
    pub retried: u64,
    /// Messages that a receiver refused for good.
    pub refused: u64,
    /// News that were given up: tried too long, or no room.
    pub dropped: u64,
    /// News that were not sent alone: told in a summary, or over before they could be told.
    pub summed_up: u64,
}

#[derive(Debug)]
struct Attempt {
    message: Message,
    first: Instant,
    backoff: Backoff,
    not_before: Option<Instant>,
}

/// What one channel has still to say.
///
/// The budget is a bucket of half of `per_hour` that fills up with the other half in an hour, so that no hour has more than `per_hour`.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    waiting: VecDeque<Notification>,
    /// The message on its way; nothing overtakes it.
    head: Option<Attempt>,
    tokens: f64,
    filled: Instant,
    /// Whether what waits had to wait for the budget.
    held_back: bool,
    counts: Delivered,
}

impl Queue {
    /// An empty queue.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Queue {
            tokens: burst(limits),
            filled: now,
            limits,
            waiting: VecDeque::new(),
            head: None,
            held_back: false,
            counts: Delivered::default(),
        }
    }

    /// Adds news; how many had to be dropped for it.
    pub fn push(&mut self, news: Notification) -> u64 {
        if self.waiting.len() >= self.limits.waiting {
            self.forget_what_is_over();
        }
        let mut dropped = 0;
        while self.waiting.len() >= self.limits.waiting {
            self.waiting.pop_front();
            dropped += 1;
        }
        self.counts.dropped += dropped;
        self.waiting.push_back(news);
        dropped
    }

    /// What to do at `now`; `id` names a new message.
    pub fn next(&mut self, now: Instant, id: impl FnOnce() -> String) -> Next {
        if let Some(head) = &self.head {
            let ready = head.not_before.map(|at| at.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
            return ready.map_or_else(|| Next::Send(head.message.clone()), Next::Wait);
        }
        if self.waiting.is_empty() {
            return Next::Rest;
        }
        self.fill(now);
        if self.tokens < 1.0 {
            self.held_back = true;
            // Rounded up, or the last moment would be waited for again and again.
            let wait = (1.0 - self.tokens) / self.per_second();
            return Next::Wait(Duration::from_secs_f64(wait) + Duration::from_millis(1));
        }
        let news = self.take();
        if news.is_empty() {
            return Next::Rest;
        }
        self.tokens -= 1.0;
        let message = Message { news, id: id() };
        self.head =
            Some(Attempt { message: message.clone(), first: now, backoff: Backoff::default(), not_before: None });
        Next::Send(message)
    }

    fn take(&mut self) -> Vec<Notification> {
        let all = self.held_back && !self.limits.joins;
        if self.held_back && self.limits.joins {
            self.forget_what_is_over();
        }
        let news: Vec<Notification> =
            if all { self.waiting.drain(..).collect() } else { self.waiting.pop_front().into_iter().collect() };
        if news.len() > 1 {
            self.counts.summed_up += news.len() as u64;
        }
        self.held_back &= !self.waiting.is_empty();
        news
    }

    /// The receiver took it.
    pub fn taken(&mut self) {
        self.head = None;
        self.counts.delivered += 1;
    }

    /// The receiver did not take it: when it is tried again, or `None` when it is given up. `random` in `0.0..1.0` spreads attempts.
    pub fn failed(&mut self, failure: &Failure, now: Instant, random: f64) -> Option<Duration> {
        let mut head = self.head.take()?;
        let named = match failure.again {
            Again::Never => {
                self.counts.refused += 1;
                return None;
            }
            Again::After(named) => named,
        };
        let wait = head.backoff.failed(BACKOFF, now, random).max(named.unwrap_or_default());
        if now.saturating_duration_since(head.first) + wait > self.limits.retry_for {
            self.counts.dropped += head.message.news.len() as u64;
            return None;
        }
        head.not_before = Some(now + wait);
        self.head = Some(head);
        self.counts.retried += 1;
        Some(wait)
    }

    /// Whether everything is said.
    pub fn is_empty(&self) -> bool {
        self.head.is_none() && self.waiting.is_empty()
    }

    /// What became of messages.
    pub fn counts(&self) -> Delivered {
        self.counts
    }

    /// How often the message on its way has failed.
    pub fn failures(&self) -> u32 {
        self.head.as_ref().map_or(0, |head| head.backoff.failures())
    }

    /// Leaves at most one piece of news for each key: what began and ended, or ended and began again, is not worth a place.
    fn forget_what_is_over(&mut self) {
        let mut of_key: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (i, news) in self.waiting.iter().enumerate() {
            of_key.entry(news.key.clone()).and_modify(|(n, last)| (*n, *last) = (*n + 1, i)).or_insert((1, i));
        }
        let before = self.waiting.len();
        let mut i = 0;
        self.waiting.retain(|news| {
            // The receiver knows the opposite of the first: an even number of changes leaves it right as it is.
            let keep = of_key.get(&news.key).is_some_and(|(n, last)| n % 2 == 1 && *last == i);
            i += 1;
            keep
        });
        self.counts.summed_up += (before - self.waiting.len()) as u64;
    }

    fn per_second(&self) -> f64 {
        (f64::from(self.limits.per_hour) - burst(self.limits)) / HOUR
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second()).min(burst(self.limits));
        self.filled = now;
    }
}

fn burst(limits: Limits) -> f64 {
    f64::from((limits.per_hour / 2).max(1))
}

#[cfg(test)]
#[path = "queue/tests.rs"]
mod tests;
