//! Filling an entry: begin, read the database, store.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::clock::millis;
use super::envelope::{self, Header};
use super::layer::Layer;
use super::names::{Key, tags_hash};
use super::ticket::{
    Begun, Fill, Generations, Outcome, Proof, Stored, Ticket, read_epoch, read_generation, read_position,
};
use super::{Error, scripts};
use crate::position::Position;
use crate::random;

/// How long a generation outlives the values it guards, at least: as long as a fill may take.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a generation lives at least: longer than any replica that is read from lags behind.
pub(super) const LEAST_LIFE: Duration = Duration::from_secs(600);
/// Of a value's life, how much may be cut off at random, so that entries of one moment do not end in one moment.
const JITTER: f64 = 0.1;
/// Between looks at another instance's fill.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(40);

impl Layer {
    /// Begins to fill `key`, whose value will live for `ttl`: notes the generations of its tags, making those that do not exist.
    /// With `lease`, says whether this instance is the one to do it. `fresh` is the answer to [`Begun::NeedsPosition`]: the
    /// primary's position, asked for after it.
    ///
    /// # Errors
    /// Any but [`Error::Config`]; the caller reads the database and stores nothing.
    ///
    /// # Cancel safety
    /// When dropped, a lease that was taken is given back in the background.
    pub async fn begin(
        &self,
        key: &Key,
        tags: &[String],
        ttl: Duration,
        lease: bool,
        fresh: Option<(&Proof, Position)>,
    ) -> Result<Begun, Error> {
        let inner = &self.inner;
        // Before Redis is asked: what is delivered meanwhile is in its answer.
        let waiting = inner.journal.lock().position(tags);
        let needed = millis(ttl + MARGIN).to_string();
        let given = millis((2 * ttl).max(LEAST_LIFE) + MARGIN).to_string();
        let token = if lease { random::id() } else { String::new() };
        let lease_ms = millis(inner.config.lease).max(1).to_string();
        let reliable = if inner.link.is_reliable() { "1" } else { "0" };
        let position = super::ticket::position_text(fresh.map(|(_, position)| position));
        let (epoch, evicted) = fresh.map_or(("", ""), |(proof, _)| (&proof.epoch, &proof.evicted));
        let (lease_name, mut keys) = (inner.names.lease(key), Vec::with_capacity(tags.len() + 2));
        let generations: Vec<String> = tags.iter().map(|tag| inner.names.generation(tag)).collect();
        keys.extend([inner.names.epoch.as_str(), lease_name.as_str()]);
        keys.extend(generations.iter().map(String::as_str));
        let arguments = [&needed, &given, &token, &lease_ms, reliable, epoch, evicted, &position].map(str::as_bytes);
        // Whoever does not hear the answer may hold the lease all the same, and everybody would wait for nobody.
        let mut unheard = Unheard { layer: lease.then(|| self.clone()), key, token: &token };
        let reply: Vec<String> = inner.run(&scripts::BEGIN, &keys, &arguments, inner.config.timeout).await?;
        unheard.layer = None;
        drop(unheard);
        match reply.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["position", epoch, evicted] => {
                Ok(Begun::NeedsPosition(Proof { epoch: epoch.to_owned(), evicted: evicted.to_owned() }))
            }
            ["begun", epoch, sweep, floor, leader, ref found @ ..] => {
                let ticket = ticket(epoch, sweep, found, lease && leader == "1", token);
                let ticket = ticket.ok_or_else(|| Error::Server("a generation could not be read".to_owned()))?;
                inner.link.compare(Some(ticket.generations.epoch));
                let known = found.iter().filter_map(|text| read_position(text.split(' ').nth(1)?));
                let required = known
                    .fold(Position::later(read_position(floor), waiting), |all, one| Position::later(all, Some(one)));
                Ok(Begun::Ready(Fill { ticket, required, leader: leader == "1" }))
            }
            _ => {
                inner.link.look_again.notify_one();
                Err(Error::Down)
            }
        }
    }

    /// Stores a fill unless something it depends on moved since it began, and gives its lease back. `position` is where the
    /// node that was read from had replayed to.
    ///
    /// # Errors
    /// Any but [`Error::Config`]; the value may or may not be stored, and is current if it is.
    ///
    /// # Cancel safety
    /// When dropped, the value may or may not be stored.
    #[allow(clippy::too_many_arguments, reason = "what an entry consists of")]
    pub async fn store(
        &self,
        key: &Key,
        tags: &[String],
        ticket: &Ticket,
        fingerprint: u64,
        payload: &[u8],
        position: Option<Position>,
        ttl: Duration,
    ) -> Result<Outcome, Error> {
        let inner = &self.inner;
        let generations = &ticket.generations;
        let unfit = if payload.len() > inner.config.max_value_bytes {
            inner.counters.too_large.one();
            Some(Outcome::TooLarge)
        } else if self.holds(tags) || tags.len() != generations.list.len() {
            inner.counters.fenced.one();
            Some(Outcome::Fenced)
        } else {
            None
        };
        if let Some(outcome) = unfit {
            self.abandon(key, ticket).await;
            return Ok(outcome);
        }
        let header = Header {
            fingerprint,
            epoch: generations.epoch,
            tags: tags_hash(tags),
            generations: generations.list.clone(),
            position,
        };
        let body = envelope::encode(&header, key.identity(), payload, inner.config.compress_above);
        let epoch = format!("{:016x}", generations.epoch);
        let (sweep, life) =
            (ticket.sweep.to_string(), millis(ttl.mul_f64(1.0 - JITTER * random::fraction())).max(1).to_string());
        let numbers: Vec<String> = generations.list.iter().map(u64::to_string).collect();
        let names: Vec<String> = tags.iter().map(|tag| inner.names.generation(tag)).collect();
        let (value_name, lease_name) = (inner.names.value(key), inner.names.lease(key));
        let mut keys = vec![inner.names.epoch.as_str(), &value_name, &lease_name];
        keys.extend(names.iter().map(String::as_str));
        let token = ticket.lease.as_deref().unwrap_or_default();
        let mut arguments = vec![epoch.as_bytes(), sweep.as_bytes(), life.as_bytes(), token.as_bytes(), &body];
        arguments.extend(numbers.iter().map(String::as_bytes));
        let kept: i64 = inner.run(&scripts::STORE, &keys, &arguments, inner.config.write_timeout).await?;
        if kept == 1 {
            inner.counters.stored.one();
            return Ok(Outcome::Kept);
        }
        inner.counters.fenced.one();
        Ok(Outcome::Fenced)
    }

    /// Gives a fill up, so that another instance may lead at once.
    ///
    /// # Cancel safety
    /// When dropped, the lease may stay taken until it expires.
    pub async fn abandon(&self, key: &Key, ticket: &Ticket) {
        let Some(token) = &ticket.lease else { return };
        let inner = &self.inner;
        // A lease that cannot be given back expires.
        let _: Result<i64, Error> =
            inner.run(&scripts::RELEASE, &[&inner.names.lease(key)], &[token.as_bytes()], inner.config.timeout).await;
    }

    /// Waits for another instance's fill, at most for `patience`. `None`: it gave up, or took too long.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn wait_filled(
        &self,
        key: &Key,
        tags: &[String],
        fingerprint: u64,
        strong: bool,
        patience: Duration,
    ) -> Result<Option<Stored>, Error> {
        let inner = &self.inner;
        let (deadline, mut pause) = (Instant::now() + patience, FIRST_PAUSE);
        loop {
            sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
            if self.holds(tags) {
                return Ok(None);
            }
            let mut answer =
                inner.ask(Some(inner.names.value(key)), tags, Some(inner.names.lease(key)), strong).await?;
            let given_back = answer.values.pop().flatten().is_none();
            let found = inner.judge(answer, key, tags, fingerprint, strong);
            if found.is_some() || given_back || Instant::now() >= deadline {
                return Ok(found);
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

/// A lease that was asked for and may have been taken; given back when it is dropped.
struct Unheard<'a> {
    layer: Option<Layer>,
    key: &'a Key,
    token: &'a str,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let (Some(layer), Ok(runtime)) = (self.layer.take(), tokio::runtime::Handle::try_current()) else { return };
        let (name, token) = (layer.inner.names.lease(self.key), self.token.to_owned());
        // On the same connection: Redis sees it after the question.
        runtime.spawn(async move {
            let (keys, arguments) = ([name.as_str()], [token.as_bytes()]);
            let release = layer.inner.run_always::<i64>(&scripts::RELEASE, &keys, &arguments);
            let _ = timeout(layer.inner.config.lease, release).await;
        });
    }
}

fn ticket(epoch: &str, sweep: &str, found: &[&str], leads: bool, token: String) -> Option<Ticket> {
    let list = found.iter().map(|text| read_generation(text.as_bytes())).collect::<Option<_>>()?;
    let generations = Generations { epoch: read_epoch(epoch.as_bytes())?, list };
    Some(Ticket { generations, sweep: sweep.parse().ok()?, lease: leads.then_some(token) })
}
