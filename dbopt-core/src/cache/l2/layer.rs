//! The layer as its owner sees it, and its look-ups.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{FromRedisValue, Script};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use super::counters::{Counters, Counts};
use super::events::Event;
use super::gather::{self, Question};
use super::journal::Journal;
use super::judge::{self, Answer, Miss};
use super::link::{self, Link};
use super::names::{Key, Names};
use super::ticket::{Generations, Stored};
use super::writers::{self, Writers};
use super::{Config, Error, invalidate};
use crate::background::Task;
use crate::random;
use crate::redis_link::{Gather, LANES};

/// Tags whose invalidation failed, before it becomes "everything".
const JOURNAL_BOUND: usize = 10_000;

/// Redis as the second layer. Clones share one connection.
#[derive(Clone)]
pub struct Layer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) link: Link,
    pub(super) queue: Gather<Inner>,
    pub(super) counters: Counters,
    pub(super) journal: Mutex<Journal>,
    pub(super) journal_filled: tokio::sync::Notify,
    pub(super) writers: Writers,
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Who we are among the instances.
    pub(super) instance: u64,
    pub(super) closing: watch::Sender<bool>,
}

impl Layer {
    /// A layer that is not connected yet; its [`tasks`](Self::tasks) connect it. The receiver gets what the first layer must
    /// know.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn new(config: Config) -> Result<(Self, mpsc::UnboundedReceiver<Event>), Error> {
        config.check()?;
        let (events, receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            names: Names::new(&config.namespace),
            link: Link::new(&config)?,
            queue: Gather::new(gather::WAITING),
            counters: Counters::default(),
            journal: Mutex::new(Journal::new(JOURNAL_BOUND)),
            journal_filled: tokio::sync::Notify::new(),
            writers: Writers::new(&config),
            events,
            instance: random::number(),
            closing: watch::Sender::new(false),
            config,
        };
        Ok((Self { inner: Arc::new(inner) }, receiver))
    }

    /// The loops that must run for the layer to work; to be spawned once each.
    pub fn tasks(&self) -> Vec<Task> {
        let inner = &self.inner;
        let mut tasks: Vec<Task> = vec![
            ("cache-link", Box::pin(link::run(inner.clone()))),
            ("cache-journal", Box::pin(invalidate::deliver(inner.clone()))),
        ];
        for _ in 0..LANES {
            tasks.push(("cache-look-ups", Box::pin(gather::run(inner.clone()))));
        }
        if inner.config.strong {
            tasks.push(("cache-writer", Box::pin(writers::run(inner.clone()))));
        }
        tasks
    }

    /// Whether Redis is connected and answers in time.
    pub fn is_up(&self) -> bool {
        self.inner.link.is_attached() && !self.inner.link.gate.refuses()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.inner.counters.read()
    }

    /// How many failed invalidations wait to be delivered; merged per tag.
    pub fn journal_len(&self) -> usize {
        self.inner.journal.lock().len()
    }

    /// Whether an invalidation of one of the tags waits to be delivered; meanwhile they are not served from here.
    pub fn holds(&self, tags: &[String]) -> bool {
        self.inner.journal.lock().holds(tags)
    }

    /// The value under `key`, if it is current, of the shape `fingerprint` and filled for these `tags`. With `strong`, also
    /// only if every writer was heard of lately. One round trip.
    ///
    /// # Errors
    /// Any but [`Error::Config`]; the caller goes on as after a miss.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn look_up(
        &self,
        key: &Key,
        tags: &[String],
        fingerprint: u64,
        strong: bool,
    ) -> Result<Option<Stored>, Error> {
        Ok(self.look_up_vouched(key, tags, fingerprint, strong).await?.0)
    }

    /// The same, and whether every writer was heard of lately (with `strong`): then Redis knows of every write that was acknowledged
    /// before this was asked, and a fill that begins afterwards is told its position.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn look_up_vouched(
        &self,
        key: &Key,
        tags: &[String],
        fingerprint: u64,
        strong: bool,
    ) -> Result<(Option<Stored>, bool), Error> {
        let inner = &self.inner;
        if self.holds(tags) {
            inner.counters.held.one();
            return Ok((None, false));
        }
        let answer = inner.ask(Some(inner.names.value(key)), tags, None, strong).await?;
        let vouched = answer.trusted;
        Ok((inner.judge(answer, key, tags, fingerprint, strong), vouched))
    }

    /// Whether every writer was heard of lately.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn vouched(&self) -> Result<bool, Error> {
        Ok(self.inner.ask(None, &[], None, true).await?.trusted)
    }

    /// Whether what was filled under `generations` is still current everywhere, which is what strong consistency asks for a
    /// value of the first layer. One small round trip; no value is moved.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up); the value must not be trusted then.
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn check(&self, tags: &[String], generations: &Generations) -> Result<bool, Error> {
        if self.holds(tags) {
            self.inner.counters.held.one();
            return Ok(false);
        }
        let answer = self.inner.ask(None, tags, None, true).await?;
        if !answer.trusted {
            self.inner.counters.distrusted.one();
        }
        Ok(answer.trusted && judge::current(answer.epoch, &answer.values).as_ref() == Some(generations))
    }

    /// Delivers what waits in the journal until `deadline`, leaves the writers, and ends the loops. Returns how many
    /// invalidations could not be delivered; while there are any, strong readers distrust the cache until this writer is
    /// forgotten.
    ///
    /// # Cancel safety
    /// When dropped the loops go on; it may be called again.
    pub async fn shutdown(&self, deadline: Instant) -> usize {
        while self.journal_len() > 0 && Instant::now() < deadline {
            self.inner.journal_filled.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let left = self.journal_len();
        if left == 0 {
            writers::leave(&self.inner).await;
        } else {
            self.inner.writers.silence();
        }
        self.inner.closing.send_replace(true);
        left
    }
}

impl Inner {
    /// Asks for a value, its tags' generations and one more key, in this order.
    pub(super) async fn ask(
        &self,
        value: Option<String>,
        tags: &[String],
        more: Option<String>,
        strong: bool,
    ) -> Result<Answer, Error> {
        let mut keys = Vec::with_capacity(tags.len() + 2);
        keys.extend(value);
        keys.extend(tags.iter().map(|tag| self.names.generation(tag)));
        keys.extend(more);
        self.admit()?;
        let answer = timeout(self.config.timeout, self.queue.ask(self, Question { keys, strong })).await;
        let answer = self.settle(answer.unwrap_or(Err(Error::TimedOut)))?;
        self.link.compare(answer.epoch);
        Ok(answer)
    }

    pub(super) fn judge(
        &self,
        answer: Answer,
        key: &Key,
        tags: &[String],
        fingerprint: u64,
        strong: bool,
    ) -> Option<Stored> {
        let counters = &self.counters;
        let surroundings = (self.link.now_ms(), self.config.max_value_bytes, strong);
        let miss = match judge::value(answer, (key, tags, fingerprint), surroundings) {
            Ok(stored) => {
                counters.hits.one();
                return Some(stored);
            }
            Err(miss) => miss,
        };
        match miss {
            Miss::Absent => &counters.absent,
            Miss::Distrusted => &counters.distrusted,
            Miss::Outdated => &counters.outdated,
            Miss::Collision => &counters.collisions,
            Miss::Unreadable => &counters.unreadable,
        }
        .one();
        None
    }

    /// Whether Redis may be asked at all.
    pub(super) fn admit(&self) -> Result<(), Error> {
        if !self.link.is_attached() {
            return self.settle(Err(Error::Down));
        }
        if self.link.gate.refuses() {
            return self.settle(Err(Error::Refused));
        }
        Ok(())
    }

    /// Counts how an operation ended, and tells the gate.
    pub(super) fn settle<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Ok(_) => self.link.gate.in_time(),
            Err(Error::TimedOut) => {
                self.counters.timed_out.one();
                self.link.gate.late();
            }
            Err(Error::Refused) => self.counters.refused.one(),
            Err(Error::Server(text)) => {
                self.counters.server_errors.one();
                if text.starts_with("READONLY") {
                    self.link.look_again.notify_one();
                }
            }
            Err(_) => self.counters.down.one(),
        }
        result
    }

    /// Runs a script within a budget.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        budget: Duration,
    ) -> Result<T, Error> {
        self.admit()?;
        let result = timeout(budget, self.run_always(script, keys, arguments)).await;
        self.settle(result.unwrap_or(Err(Error::TimedOut)))
    }

    /// The same without a budget, also while calls are refused.
    pub(super) async fn run_always<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, Error> {
        let mut connection = self.link.connection().ok_or(Error::Down)?;
        Ok(link::invoke(&mut connection, script, keys, arguments).await?)
    }

    /// Resolves when the layer is shut down.
    pub(super) async fn closed(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}
