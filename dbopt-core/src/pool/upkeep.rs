//! What is done to a pool from time to time and on changes of the cluster.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::lending::{Pool, Slot};
use super::share::Share;
use crate::backend::{Backend, Connection, Health};

impl<B: Backend> Pool<B> {
    /// Sets how many connections the pool may have. Surplus ones close at once if nobody uses them, or else as they come
    /// back; without any room left, whoever waits is refused.
    pub fn set_share(self: &Arc<Self>, share: Share) {
        let (surplus, turned_away) = {
            let mut lobby = self.lobby.lock();
            (lobby.limit, lobby.min) = (share.max, share.min);
            // What was short of room may have some now.
            lobby.short_of_room = false;
            self.store.set_limit(share.max);
            // The longest idle ones are in front.
            let count = lobby.here.saturating_sub(share.max).min(lobby.ready.len());
            lobby.here -= count;
            let surplus = lobby.ready.drain(..count).collect();
            // What is on its way to those who must not wait for others will be closed when it arrives.
            let no_room = lobby.here >= share.max && share.max > 0;
            (surplus, if no_room { lobby.turn_away(false) } else { Vec::new() })
        };
        retire(surplus);
        self.store.close_parked(share.max);
        for caller in turned_away {
            drop(caller.answer.send(Err(self.busy())));
        }
        self.open_wanted();
    }

    /// Parks what idles, closes what is old, opens what is missing and reports what is held too long.
    pub fn maintain(self: &Arc<Self>) {
        let now_ms = Instant::now().duration_since(self.born).as_millis() as u64;
        self.coarse_ms.store(now_ms, Ordering::Relaxed);
        self.circuit.tick();
        drop(self.take_leaving(now_ms));
        self.open_wanted();
        self.report_leaks(now_ms);
    }

    /// Takes out what is not to stay ready: some are parked by being dropped, the retired ones are closed.
    fn take_leaving(&self, now_ms: u64) -> Vec<Box<Slot<B>>> {
        let park_after = (self.config.idle_timeout / 2).as_millis() as u64;
        let mut leaving = Vec::new();
        let mut lobby = self.lobby.lock();
        lobby.worn = 0;
        // The longest idle ones are in front.
        for mut slot in std::mem::take(&mut lobby.ready) {
            let idle = now_ms.saturating_sub(slot.idle_since_ms) >= park_after;
            let worn = slot.dies_at_ms <= now_ms;
            let useless = slot.taken.connection.health() != Health::Clean || lobby.here > lobby.limit;
            slot.taken.retired = useless || worn && lobby.can_spare_one();
            if slot.taken.retired || idle && lobby.here > lobby.min {
                lobby.here -= 1;
                leaving.push(slot);
            } else {
                lobby.worn += usize::from(worn);
                lobby.ready.push(slot);
            }
        }
        leaving
    }

    /// Names, once, each method that holds a connection for too long.
    fn report_leaks(&self, now_ms: u64) {
        let limit_ms = self.config.leak_warning.as_millis() as u64;
        let seats = self.lobby.lock().seats();
        for (op, held_ms) in seats.iter().filter_map(|seat| seat.leak(now_ms, limit_ms)) {
            tracing::warn!(
                node = %self.site.name(), lane = %self.lane, method = op.name(), location = ?op.location(), held_ms,
                "a connection is held for longer than pool.leak_warning: a slow statement, or a body that waits for something else"
            );
        }
    }

    /// Closes every connection nobody uses: the node was seen dead, or is no longer what it was.
    pub fn drop_idle(self: &Arc<Self>) {
        let idle = {
            let mut lobby = self.lobby.lock();
            lobby.worn = 0;
            lobby.here -= lobby.ready.len();
            std::mem::take(&mut lobby.ready)
        };
        retire(idle);
        self.store.close_parked(0);
        self.open_wanted();
    }

    /// Closes every connection nobody uses, and the others as they come back: the schema has changed, and what they have prepared may
    /// not fit any more.
    pub fn renew(self: &Arc<Self>) {
        self.plans.fetch_add(1, Ordering::Relaxed);
        self.drop_idle();
    }

    /// Refuses new callers and closes idle connections; those in use close as they come back.
    pub fn close(self: &Arc<Self>) {
        let waiting = {
            let mut lobby = self.lobby.lock();
            lobby.closed = true;
            lobby.turn_away(true)
        };
        for caller in waiting {
            drop(caller.answer.send(Err(self.closed())));
        }
        self.drop_idle();
    }
}

fn retire<B: Backend>(slots: Vec<Box<Slot<B>>>) {
    for mut slot in slots {
        slot.taken.retired = true;
    }
}
