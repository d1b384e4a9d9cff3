//! Who waits and what is ready: the pool's state, as a value without I/O.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::op::Op;
use crate::owner::Alone;

/// The connections that are out of the store and the callers that want one.
pub(super) struct Lobby<S, W> {
    /// Ready connections; the last one was used last and is taken first, so that a quiet pool's others go idle.
    pub(super) ready: Vec<S>,
    /// Callers, first come first served.
    pub(super) waiting: VecDeque<W>,
    /// Connections out of the store: ready, in use, or being recovered.
    pub(super) here: usize,
    /// Connections being taken out of the store or opened.
    pub(super) opening: usize,
    /// The most that `here` may be.
    pub(super) limit: usize,
    /// What is kept open at all times.
    pub(super) min: usize,
    /// Ready connections past their lifetime that stay until others have taken their place.
    pub(super) worn: usize,
    /// Somebody waits on the pool's behalf until another one closes a connection: attempts before that are useless.
    pub(super) short_of_room: bool,
    pub(super) closed: bool,
    /// Of every connection that is here, and of some that have gone.
    seats: Vec<Weak<Seat>>,
    taken_seats: usize,
    /// How many hold a connection or wait for one, for those who compare pools without their locks.
    load: Arc<Alone<AtomicU32>>,
}

/// Who holds a connection; kept beside it, where only its holder writes.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Option<Holder>>);

#[derive(Debug)]
struct Holder {
    op: &'static Op,
    since_ms: u64,
    reported: bool,
}

impl Seat {
    /// The method that has held it for longer than `limit_ms`, and for how long; told once.
    pub(super) fn leak(&self, now_ms: u64, limit_ms: u64) -> Option<(&'static Op, u64)> {
        let mut holder = self.0.lock();
        let holder = holder.as_mut()?;
        let held_ms = now_ms.saturating_sub(holder.since_ms);
        if holder.reported || held_ms <= limit_ms {
            return None;
        }
        holder.reported = true;
        Some((holder.op, held_ms))
    }
}

/// A caller waiting for a connection.
pub(super) trait Waiter {
    /// Whether it has given up.
    fn is_gone(&self) -> bool;

    /// Whether it may wait for others to bring their connections back.
    fn may_wait(&self) -> bool;
}

impl<S, W: Waiter> Lobby<S, W> {
    pub(super) fn new() -> Self {
        Lobby {
            ready: Vec::new(),
            waiting: VecDeque::new(),
            here: 0,
            opening: 0,
            limit: 0,
            min: 0,
            worn: 0,
            short_of_room: false,
            closed: false,
            seats: Vec::new(),
            taken_seats: 0,
            load: Arc::default(),
        }
    }

    /// How many hold a connection or wait for one, kept up to date.
    pub(super) fn load(&self) -> Arc<Alone<AtomicU32>> {
        self.load.clone()
    }

    fn tell_load(&self) {
        let load = (self.taken_seats + self.waiting.len()) as u32;
        // Others read it all the time: what has not changed is not written.
        if self.load.load(Ordering::Relaxed) != load {
            self.load.store(load, Ordering::Relaxed);
        }
    }

    /// Takes the connection used last, unless someone came earlier and still waits.
    pub(super) fn take_ready(&mut self) -> Option<S> {
        if self.waiting.is_empty() { self.ready.pop() } else { None }
    }

    /// The next caller that is still there.
    pub(super) fn next_waiting(&mut self) -> Option<W> {
        while let Some(waiter) = self.waiting.pop_front() {
            if !waiter.is_gone() {
                return Some(waiter);
            }
        }
        self.tell_load();
        None
    }

    /// Adds a caller to the queue; gives it back when `max` are waiting already.
    pub(super) fn queue(&mut self, waiter: W, max: usize) -> Result<(), W> {
        if self.waiting.len() >= max {
            self.waiting.retain(|w| !w.is_gone());
        }
        if self.waiting.len() >= max {
            return Err(waiter);
        }
        self.waiting.push_back(waiter);
        self.tell_load();
        Ok(())
    }

    /// Takes those out of the queue who must not wait for others, or everybody.
    pub(super) fn turn_away(&mut self, everybody: bool) -> Vec<W> {
        if everybody {
            let all = std::mem::take(&mut self.waiting).into();
            self.tell_load();
            return all;
        }
        if self.waiting.iter().all(W::may_wait) {
            return Vec::new();
        }
        let (away, staying) = std::mem::take(&mut self.waiting).into_iter().partition(|w| !w.may_wait());
        self.waiting = staying;
        self.tell_load();
        Vec::from_iter::<VecDeque<W>>(away)
    }

    /// How many connections to open now, for callers that wait and for the minimum.
    pub(super) fn wanted(&self) -> usize {
        if self.closed {
            return 0;
        }
        let for_callers = self.waiting.len();
        let for_minimum = (self.min + self.worn).saturating_sub(self.here);
        let room = self.limit.saturating_sub(self.here + self.opening);
        for_callers.max(for_minimum).saturating_sub(self.opening).min(room)
    }

    /// Whether an old connection may be closed before another one has taken its place.
    pub(super) fn can_spare_one(&self) -> bool {
        self.here > self.min || self.here >= self.limit
    }

    pub(super) fn in_use(&self) -> usize {
        self.here - self.ready.len()
    }

    /// A place for a connection that has come.
    pub(super) fn new_seat(&mut self) -> Arc<Seat> {
        let seat = Arc::default();
        self.seats.push(Arc::downgrade(&seat));
        seat
    }

    /// Lends the connection that the seat belongs to.
    pub(super) fn sit(&mut self, seat: &Seat, op: &'static Op, since_ms: u64) {
        if seat.0.lock().replace(Holder { op, since_ms, reported: false }).is_none() {
            self.taken_seats += 1;
        }
        self.tell_load();
    }

    /// Takes it back, if it was lent.
    pub(super) fn stand_up(&mut self, seat: &Seat) {
        if seat.0.lock().take().is_some() {
            self.taken_seats -= 1;
            self.tell_load();
        }
    }

    /// Of every connection that is here.
    pub(super) fn seats(&mut self) -> Vec<Arc<Seat>> {
        let mut here = Vec::with_capacity(self.here);
        self.seats.retain(|seat| seat.upgrade().map(|seat| here.push(seat)).is_some());
        here
    }

    #[cfg(test)]
    pub(super) fn taken_seats(&self) -> usize {
        self.taken_seats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq)]
    struct Caller {
        id: u32,
        gone: bool,
    }
    impl Waiter for Caller {
        fn is_gone(&self) -> bool {
            self.gone
        }
        fn may_wait(&self) -> bool {
            self.id.is_multiple_of(2)
        }
    }
    fn caller(id: u32) -> Caller {
        Caller { id, gone: false }
    }

    #[test]
    fn nobody_overtakes_a_waiting_caller() {
        let mut lobby: Lobby<u32, Caller> = Lobby::new();
        lobby.ready.push(7);
        lobby.queue(caller(1), 8).unwrap();
        assert_eq!(lobby.take_ready(), None);
        assert_eq!(lobby.next_waiting(), Some(caller(1)));
        assert_eq!(lobby.take_ready(), Some(7));
    }

    #[test]
    fn callers_that_gave_up_do_not_fill_the_queue() {
        let mut lobby: Lobby<u32, Caller> = Lobby::new();
        lobby.queue(Caller { id: 1, gone: true }, 2).unwrap();
        lobby.queue(caller(2), 2).unwrap();
        assert!(lobby.queue(caller(3), 2).is_ok());
        assert_eq!(lobby.queue(caller(4), 2), Err(caller(4)));
        assert_eq!(lobby.next_waiting().map(|c| c.id), Some(2));
    }

    #[test]
    fn those_who_must_not_wait_leave_and_the_others_keep_their_order() {
        let mut lobby: Lobby<u32, Caller> = Lobby::new();
        for id in 0..6 {
            lobby.queue(caller(id), 8).unwrap();
        }
        let ids = |callers: &[Caller]| callers.iter().map(|c| c.id).collect::<Vec<_>>();
        assert_eq!(ids(&lobby.turn_away(false)), [1, 3, 5]);
        assert!(lobby.turn_away(false).is_empty());
        assert_eq!(ids(&lobby.turn_away(true)), [0, 2, 4]);
    }

    #[test]
    fn what_is_being_opened_is_not_opened_again() {
        let mut lobby: Lobby<u32, Caller> = Lobby::new();
        lobby.limit = 10;
        lobby.min = 4;
        assert_eq!(lobby.wanted(), 4);
        lobby.opening = 1;
        assert_eq!(lobby.wanted(), 3);
        (lobby.here, lobby.opening, lobby.worn) = (4, 0, 2);
        assert_eq!(lobby.wanted(), 2, "worn out ones are replaced before they go");
    }

    #[test]
    fn who_holds_a_connection_for_too_long_is_told_once() {
        static OP: Op = Op::new("a", crate::op::Intent::Read);
        let mut lobby: Lobby<u32, Caller> = Lobby::new();
        let (one, two) = (lobby.new_seat(), lobby.new_seat());
        lobby.sit(&one, &OP, 100);
        lobby.sit(&two, &OP, 350);
        let leaks = |lobby: &mut Lobby<u32, Caller>, now| {
            lobby.seats().iter().filter_map(|seat| seat.leak(now, 200)).map(|(op, held)| (op.name(), held)).collect()
        };
        let told: Vec<(&str, u64)> = leaks(&mut lobby, 300);
        assert!(told.is_empty());
        assert_eq!(leaks(&mut lobby, 400), [("a", 300)]);
        assert_eq!(leaks(&mut lobby, 600), [("a", 250)], "the other one");
        lobby.stand_up(&one);
        lobby.stand_up(&one);
        assert_eq!((lobby.taken_seats(), lobby.load().load(Ordering::Relaxed)), (1, 1));
        lobby.sit(&one, &OP, 600);
        assert_eq!(leaks(&mut lobby, 900), [("a", 300)], "another holder");
        drop(two);
        assert_eq!((lobby.seats().len(), lobby.seats.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit(limit in 0usize..20, min in 0usize..20, here in 0usize..20, opening in 0usize..20, waiting in 0u32..40) {
            let mut lobby: Lobby<u32, Caller> = Lobby::new();
            (lobby.limit, lobby.min, lobby.here, lobby.opening) = (limit, min.min(limit), here, opening);
            for id in 0..waiting { lobby.queue(caller(id), 100).unwrap(); }
            let wanted = lobby.wanted();
            prop_assert!(here + opening + wanted <= limit.max(here + opening));
        }
    }
}
