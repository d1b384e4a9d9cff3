//! Permits for many callers in few scripts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use super::{Store, Unused, one, scripts};
use crate::limit::cell::Limit;
use crate::limit::window::Shape;
use crate::redis_link::{Asked, Error};

/// What is given back in one script.
const TOGETHER: usize = 128;
/// Questions that may wait.
pub(super) const WAITING: usize = 8192;
/// A lease takes at most this part of what is free, so that leases become smaller as the limit comes near.
const DIVISOR: u32 = 8;
/// What a want is answered with.
const NUMBERS: usize = 5;

/// Permits that somebody wants.
#[derive(Debug, Clone)]
pub(in crate::limit) struct Want {
    /// The key in Redis, without the windows.
    pub(in crate::limit) key: Arc<str>,
    pub(in crate::limit) limit: Arc<Limit>,
    pub(in crate::limit) least: u32,
    pub(in crate::limit) most: u32,
    /// To be counted in any case.
    pub(in crate::limit) owed: u32,
}

/// Wants that are granted together or not at all.
#[derive(Debug, Clone, Default)]
pub(in crate::limit) struct Group {
    pub(in crate::limit) wants: Vec<Want>,
    /// Nothing is granted unless all of the group before it was.
    pub(in crate::limit) needs_previous: bool,
}

/// What became of a want.
#[derive(Debug, Clone, Copy)]
pub(in crate::limit) struct Told {
    pub(in crate::limit) granted: u32,
    pub(in crate::limit) stamp: u64,
    /// What is free after it.
    pub(in crate::limit) free: u32,
    pub(in crate::limit) wait: u64,
    pub(in crate::limit) window: usize,
}

impl Store {
    /// What becomes of these groups; they must not wait for longer than the budget.
    pub(in crate::limit) async fn ask(&self, groups: Vec<Group>) -> Result<Vec<Told>, Error> {
        if !self.is_usable() {
            return Err(Error::Refused);
        }
        one(&self.counts.asked);
        let result = timeout(self.timeout, self.queue.ask(self, groups)).await.unwrap_or(Err(Error::TimedOut));
        match &result {
            Ok(_) => self.gate.in_time(),
            Err(_) => {
                one(&self.counts.failed);
                self.gate.late();
            }
        }
        result
    }

    /// Gives back what was not used.
    pub(in crate::limit) async fn give_back(&self, unused: &[Unused]) -> Result<(), Error> {
        let mut connection = self.link.connection().ok_or(Error::Down)?;
        for some in unused.chunks(TOGETHER) {
            let mut script = scripts::GIVE_BACK.prepare_invoke();
            for unused in some {
                for shape in &unused.limit.shapes {
                    let bucket = unused.stamp / width(shape);
                    let mut entry = Vec::with_capacity(10);
                    entry.extend_from_slice(&bucket.to_le_bytes()[..6]);
                    entry.extend_from_slice(&unused.count.to_le_bytes());
                    script.key(key(&unused.key, shape)).arg(entry);
                }
                self.counts.returned.fetch_add(u64::from(unused.count), Relaxed);
            }
            let giving = script.invoke_async::<()>(&mut connection);
            timeout(self.timeout.max(Duration::from_millis(100)), giving).await.map_err(|_| Error::TimedOut)??;
        }
        Ok(())
    }
}

/// One lane, for ever.
pub(in crate::limit) async fn lane(store: Arc<Store>) {
    // Whoever asks has given up long before.
    store.queue.lane(&store, 4 * store.timeout).await;
}

impl Asked for Store {
    type Question = Vec<Group>;
    type Answer = Vec<Told>;

    async fn ask(&self, questions: &[Vec<Group>]) -> Result<(Vec<Vec<Told>>, usize), Error> {
        let mut connection = self.link.connection().ok_or(Error::Down)?;
        let mut told = take(self, &mut connection, questions.iter().flatten()).await?.into_iter();
        let answer = |groups: &Vec<Group>| told.by_ref().take(wants(groups)).collect();
        Ok((questions.iter().map(answer).collect(), 0))
    }
}

fn wants<'a>(groups: impl IntoIterator<Item = &'a Group>) -> usize {
    groups.into_iter().map(|group| group.wants.len()).sum()
}

/// Redis counts exact limits by the millisecond.
fn width(shape: &Shape) -> u64 {
    shape.bucket.max(1)
}

fn key(of: &str, shape: &Shape) -> String {
    format!("{of}:{}", shape.length)
}

/// Sends the groups, and reads what becomes of each want.
pub(super) async fn take<'a>(
    store: &Store,
    connection: &mut MultiplexedConnection,
    groups: impl IntoIterator<Item = &'a Group> + Clone,
) -> Result<Vec<Told>, Error> {
    one(&store.counts.batches);
    let expected = wants(groups.clone());
    let (keys, shapes, entries) = encode(groups, store.single_life());
    let mut script = scripts::TAKE.prepare_invoke();
    script.arg(shapes).arg(DIVISOR);
    for (key, entry) in keys.into_iter().zip(&entries) {
        script.key(key).arg(entry);
    }
    let numbers: Vec<i64> = script.invoke_async(connection).await?;
    let read = |numbers: &[i64]| Told {
        granted: numbers[0].try_into().unwrap_or(0),
        stamp: numbers[1].try_into().unwrap_or(0),
        free: numbers[2].try_into().unwrap_or(0),
        wait: numbers[3].try_into().unwrap_or(0),
        window: numbers[4].try_into().unwrap_or(0),
    };
    let told: Vec<Told> = numbers.chunks_exact(NUMBERS).map(read).collect();
    if told.len() != expected {
        return Err(Error::Server("the script answered with something else than it should".to_owned()));
    }
    Ok(told)
}

/// Keys, shapes and entries, as the script takes them.
fn encode<'a>(groups: impl IntoIterator<Item = &'a Group>, single: u64) -> (Vec<String>, Vec<u8>, Vec<[u8; 15]>) {
    let mut places: HashMap<(Shape, u64), u16> = HashMap::new();
    let (mut keys, mut shapes, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for group in groups {
        for (i, want) in group.wants.iter().enumerate() {
            for (k, shape) in want.limit.shapes.iter().enumerate() {
                let next = places.len() as u16;
                let place = *places.entry((*shape, want.limit.life)).or_insert_with(|| {
                    shapes.extend_from_slice(&shape.limit.to_le_bytes());
                    shapes.extend_from_slice(&shape.length.to_le_bytes());
                    for time in [width(shape), single, want.limit.life] {
                        shapes.extend_from_slice(&(time as u32).to_le_bytes());
                    }
                    next
                });
                let last_window = k + 1 == want.limit.shapes.len();
                let last_want = last_window && i + 1 == group.wants.len();
                let flags = u8::from(last_window)
                    | u8::from(last_want) << 1
                    | u8::from(group.needs_previous && i == 0 && k == 0) << 2;
                let mut entry = [0; 15];
                entry[0] = flags;
                entry[1..3].copy_from_slice(&place.to_le_bytes());
                for (at, number) in [(3, want.least), (7, want.most), (11, want.owed)] {
                    entry[at..at + 4].copy_from_slice(&number.to_le_bytes());
                }
                keys.push(key(&want.key, shape));
                entries.push(entry);
            }
        }
    }
    (keys, shapes, entries)
}
