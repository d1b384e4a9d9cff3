//! Single flight: of all who miss the same key at once, one loads and the others wait for what it gets.
//!
//! A leader that is cancelled or panics drops its [`Ticket`], and exactly one of those who wait takes over. A leader that
//! fails shares its failure. Whoever asks, inside its own load, for what it is loading is told so instead of waiting for
//! itself for ever. Two loads that wait for each other's key in turn are not noticed: their callers' deadlines end that.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::key::{Key, KeyRef, Keyed, PassThrough};

const SHARDS: usize = 64;

/// What a leader shares: a value or a failure of a type both sides know.
pub type Shared = Arc<dyn Any + Send + Sync>;

tokio::task_local! {
    static LEADING: Leading;
}

/// The loads that the current task is inside of.
#[derive(Clone)]
struct Leading {
    id: u64,
    outer: Option<Arc<Leading>>,
}

/// The loads under way in this process.
pub struct Flights {
    shards: Box<[Mutex<Shard>]>,
    next: AtomicU64,
}

type Shard = HashMap<Key, Arc<Flight>, PassThrough>;

struct Flight {
    id: u64,
    /// Who has a part in it. Changed under the shard's lock only.
    seats: AtomicUsize,
    outcome: OnceLock<Outcome>,
    /// Closed when there is an outcome; gets a permit, for one of those who wait, when the leader went away without one.
    lead: Semaphore,
}

/// What came of a load that somebody else made.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// What it loaded.
    Value(Shared),
    /// What it told about its failure.
    Failure(Shared),
}

/// What a caller that missed has to do.
#[must_use]
pub enum Role {
    /// Load, and tell the others.
    Leader(Ticket),
    /// Wait for the one who loads.
    Follower(Follower),
    /// Load without telling: this very task is inside the load of this key.
    Recursive,
}

impl std::fmt::Debug for Flights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flights").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Leader(_) => "Leader",
            Role::Follower(_) => "Follower",
            Role::Recursive => "Recursive",
        })
    }
}

impl Default for Flights {
    fn default() -> Self {
        Flights::new()
    }
}

impl Flights {
    /// No load is under way.
    pub fn new() -> Self {
        Flights { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), next: AtomicU64::new(1) }
    }

    /// Joins the load of `key`, or begins it.
    pub fn join(self: &Arc<Self>, key: KeyRef<'_>) -> Role {
        let mut shard = self.shard(key.hash).lock();
        if let Some(flight) = shard.get(&key as &dyn Keyed) {
            if is_leading(flight.id) {
                return Role::Recursive;
            }
            flight.seats.fetch_add(1, Ordering::Relaxed);
            return Role::Follower(Follower(Seat {
                flights: self.clone(),
                key: key.to_key(),
                flight: flight.clone(),
                landed: false,
            }));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let flight =
            Arc::new(Flight { id, seats: AtomicUsize::new(1), outcome: OnceLock::new(), lead: Semaphore::new(0) });
        let key = key.to_key();
        shard.insert(key.clone(), flight.clone());
        Role::Leader(Ticket(Seat { flights: self.clone(), key, flight, landed: false }))
    }

    /// How many loads are under way.
    pub fn under_way(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 48) as usize % SHARDS]
    }
}

fn is_leading(id: u64) -> bool {
    let find = |innermost: &Leading| {
        std::iter::successors(Some(innermost), |leading| leading.outer.as_deref()).any(|leading| leading.id == id)
    };
    LEADING.try_with(find).unwrap_or(false)
}

/// Somebody's part in a flight. The last one to leave it without an outcome takes it off the map.
struct Seat {
    flights: Arc<Flights>,
    key: Key,
    flight: Arc<Flight>,
    landed: bool,
}

impl Seat {
    fn land(&mut self, outcome: impl FnOnce() -> Outcome) {
        let mut alone = false;
        self.remove_if(|flight| {
            alone = flight.seats.load(Ordering::Relaxed) == 1;
            true
        });
        self.landed = true;
        // From here on newcomers begin a load of their own; those who are seated get this one.
        if !alone {
            let _ = self.flight.outcome.set(outcome());
            self.flight.lead.close();
        }
    }

    fn remove_if(&self, over: impl FnOnce(&Flight) -> bool) {
        let key = self.key.as_ref();
        let mut shard = self.flights.shard(key.hash).lock();
        if shard.get(&key as &dyn Keyed).is_some_and(|found| Arc::ptr_eq(found, &self.flight)) && over(&self.flight) {
            shard.remove(&key as &dyn Keyed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.landed && self.flight.outcome.get().is_none() {
            self.remove_if(|flight| flight.seats.fetch_sub(1, Ordering::Relaxed) == 1);
        }
    }
}

/// The right and the duty to load. Dropped without a word, it goes to one of those who wait.
#[must_use]
pub struct Ticket(Seat);

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ticket").field(&self.0.key).finish()
    }
}

impl Ticket {
    /// Gives all who wait the value.
    pub fn succeed(self, value: Shared) {
        self.succeed_with(|| value);
    }

    /// Gives all who wait the value, which is made only if somebody waits.
    pub fn succeed_with(mut self, value: impl FnOnce() -> Shared) {
        self.0.land(|| Outcome::Value(value()));
    }

    /// Gives all who wait what there is to know about the failure.
    pub fn fail(self, failure: Shared) {
        self.fail_with(|| failure);
    }

    /// The same, made only if somebody waits.
    pub fn fail_with(mut self, failure: impl FnOnce() -> Shared) {
        self.0.land(|| Outcome::Failure(failure()));
    }

    /// Runs the load so that a call inside it, for the same key, is noticed.
    ///
    /// # Cancel safety
    /// As safe as `load`.
    pub fn scope<F: Future>(&self, load: F) -> impl Future<Output = F::Output> + use<F> {
        let outer = LEADING.try_with(|leading| Arc::new(leading.clone())).ok();
        LEADING.scope(Leading { id: self.0.flight.id, outer }, load)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.0.landed {
            self.0.flight.lead.add_permits(1);
        }
    }
}

/// A place among those who wait.
#[must_use]
pub struct Follower(Seat);

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Follower").field(&self.0.key).finish()
    }
}

/// What waiting came to.
#[derive(Debug)]
pub enum Landing {
    /// The leader is done.
    Shared(Outcome),
    /// The leader went away: load, and tell the others.
    Lead(Ticket),
}

impl Follower {
    /// Waits until the leader is done or gone. The caller bounds the time.
    ///
    /// # Cancel safety
    /// Dropping it leaves the load and the others who wait as they are; if the lead had just come here, another gets it.
    pub async fn wait(self) -> Landing {
        if let Ok(permit) = self.0.flight.lead.acquire().await {
            permit.forget();
        }
        if let Some(outcome) = self.0.flight.outcome.get() {
            return Landing::Shared(outcome.clone());
        }
        Landing::Lead(Ticket(self.0))
    }
}

/// How [`Flights::load`] failed.
#[derive(Debug)]
pub enum LoadError<E, F> {
    /// This caller's own load failed.
    Own(E),
    /// The load of another failed, which this caller waited for.
    Others(Arc<F>),
}

impl Flights {
    /// Loads `key` once for all who ask for it at the same time. `share` makes, of the leader's error, what the others get.
    ///
    /// # Errors
    /// When the load fails, here or at the leader.
    ///
    /// # Cancel safety
    /// Dropping it never cancels the others: if this caller was loading, one of them begins anew.
    pub async fn load<T, E, F, L>(
        self: &Arc<Self>,
        key: KeyRef<'_>,
        load: L,
        share: impl FnOnce(&E) -> F,
    ) -> Result<T, LoadError<E, F>>
    where
        T: Clone + Send + Sync + 'static,
        F: Send + Sync + 'static,
        L: AsyncFnOnce() -> Result<T, E>,
    {
        let ticket = match self.join(key) {
            Role::Leader(ticket) => ticket,
            Role::Recursive => return load().await.map_err(LoadError::Own),
            Role::Follower(follower) => match follower.wait().await {
                Landing::Lead(ticket) => ticket,
                Landing::Shared(Outcome::Value(value)) => match value.downcast_ref::<T>() {
                    Some(value) => return Ok(value.clone()),
                    None => return load().await.map_err(LoadError::Own),
                },
                Landing::Shared(Outcome::Failure(failure)) => match failure.downcast::<F>() {
                    Ok(failure) => return Err(LoadError::Others(failure)),
                    Err(_) => return load().await.map_err(LoadError::Own),
                },
            },
        };
        match ticket.scope(load()).await {
            Ok(value) => {
                ticket.succeed_with(|| Arc::new(value.clone()));
                Ok(value)
            }
            Err(error) => {
                ticket.fail_with(|| Arc::new(share(&error)));
                Err(LoadError::Own(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
