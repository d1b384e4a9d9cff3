//! What each thread keeps for a limiter: its counters, and some permits of the limits that all callers share, so that threads do not
//! meet at one counter.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::budget::Resolved;
use crate::op::Op;
use crate::rate::Scope;

thread_local! {
    /// The desks of this thread, one for each limiter it uses; the one used last stands first.
    static DESKS: RefCell<Vec<Desk>> = const { RefCell::new(Vec::new()) };
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Within the limit.
    Admitted,
    /// Above it.
    Refused,
    /// Not refused, as an administrator asked.
    Bypassed,
    /// Decided without Redis.
    Degraded,
}

impl Outcome {
    /// All of them, with their names in metrics.
    pub const ALL: [(Outcome, &'static str); 4] = [
        (Outcome::Admitted, "admitted"),
        (Outcome::Refused, "refused"),
        (Outcome::Bypassed, "bypassed"),
        (Outcome::Degraded, "degraded"),
    ];
}

/// The checks of one method by one thread. Only that thread writes.
#[derive(Debug, Default)]
pub(super) struct Tally([[AtomicU64; Outcome::ALL.len()]; Scope::ALL.len()]);

impl Tally {
    #[inline]
    pub(super) fn count(&self, scope: Scope, outcome: Outcome) {
        let counter = &self.0[scope.index()][outcome as usize];
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn read(&self, scope: Scope, outcome: Outcome) -> u64 {
        self.0[scope.index()][outcome as usize].load(Relaxed)
    }
}

/// Permits that one thread holds of a limit that all share.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Stripe {
    pub(super) left: u32,
    pub(super) until: u64,
}

impl Stripe {
    #[inline]
    pub(super) fn take(&mut self, now: u64, cost: u32) -> bool {
        let enough = now < self.until && cost <= self.left;
        if enough {
            self.left -= cost;
        }
        enough
    }
}

/// What a thread knows of a method.
pub(super) struct Post {
    pub(super) resolved: Arc<Resolved>,
    pub(super) tally: Arc<Tally>,
}

/// A thread's own.
pub(super) struct Desk {
    limiter: u64,
    alive: Weak<Registry>,
    /// By the method's id.
    pub(super) posts: Vec<Option<Post>>,
    /// By the budget's number.
    pub(super) stripes: Vec<Stripe>,
}

/// All tallies of a limiter.
#[derive(Default)]
pub(super) struct Registry {
    tallies: Mutex<Vec<(&'static Op, Arc<Tally>)>>,
    desks: AtomicU64,
}

impl Registry {
    /// How many threads have a desk.
    pub(super) fn desks(&self) -> u32 {
        self.desks.load(Relaxed).clamp(1, 1024) as u32
    }

    /// The checks of all methods, by scope and outcome.
    pub(super) fn counts(&self) -> Vec<(&'static str, Scope, Outcome, u64)> {
        let tallies = self.tallies.lock();
        let mut all: Vec<(&'static str, Scope, Outcome, u64)> = Vec::new();
        for (op, tally) in tallies.iter() {
            for scope in Scope::ALL {
                for (outcome, _) in Outcome::ALL {
                    let count = tally.read(scope, outcome);
                    let known =
                        all.iter_mut().find(|(name, s, o, _)| *name == op.name() && *s == scope && *o == outcome);
                    match known {
                        Some((.., sum)) => *sum += count,
                        None if count > 0 => all.push((op.name(), scope, outcome, count)),
                        None => {}
                    }
                }
            }
        }
        all.sort_by_key(|(name, scope, outcome, _)| (*name, scope.index(), *outcome as usize));
        all
    }
}

/// Uses this thread's desk of a limiter, if it stands first and knows the method.
#[inline(always)]
pub(super) fn at<R>(limiter: u64, method: usize, use_it: impl FnOnce(&Post, &mut [Stripe]) -> R) -> Option<R> {
    let first = |desks: &RefCell<Vec<Desk>>| {
        let mut desks = desks.try_borrow_mut().ok()?;
        let Desk { posts, stripes, .. } = desks.first_mut().filter(|desk| desk.limiter == limiter)?;
        let post = posts.get(method)?.as_ref()?;
        Some(use_it(post, stripes))
    };
    DESKS.try_with(first).ok().flatten()
}

/// Puts the desk of a limiter first and makes it know a method. False when the thread is ending.
#[cold]
pub(super) fn prepare(
    limiter: u64,
    registry: &Arc<Registry>,
    op: &'static Op,
    resolved: Arc<Resolved>,
    budgets: usize,
) -> bool {
    let done = DESKS.try_with(|desks| {
        let mut desks = desks.try_borrow_mut().ok()?;
        if desks.first().is_none_or(|desk| desk.limiter != limiter) {
            match desks.iter().position(|desk| desk.limiter == limiter) {
                Some(place) => desks.swap(0, place),
                None => {
                    desks.retain(|desk| desk.alive.strong_count() > 0);
                    registry.desks.fetch_add(1, Relaxed);
                    let alive = Arc::downgrade(registry);
                    desks.insert(0, Desk { limiter, alive, posts: Vec::new(), stripes: Vec::new() });
                }
            }
        }
        let desk = desks.first_mut()?;
        let id = op.id();
        if desk.posts.len() <= id {
            desk.posts.resize_with(id + 1, || None);
        }
        let tally = match &desk.posts[id] {
            Some(post) => post.tally.clone(),
            None => {
                let tally = Arc::<Tally>::default();
                registry.tallies.lock().push((op, tally.clone()));
                tally
            }
        };
        desk.posts[id] = Some(Post { resolved, tally });
        if desk.stripes.len() < budgets {
            desk.stripes.resize_with(budgets, Stripe::default);
        }
        Some(())
    });
    matches!(done, Ok(Some(())))
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(registry) = self.alive.upgrade() {
            registry.desks.fetch_sub(1, Relaxed);
        }
    }
}
