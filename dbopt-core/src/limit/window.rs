//! Sliding windows: how much of a limit is used, and when more will be free. Pure: time comes in as milliseconds.
//!
//! A window of length `W` is cut into buckets. A bucket counts until all of it is at least `W` old, so in *every* window of
//! that length at most the limit is admitted, never one more; at worst it behaves like a window that is one bucket longer.
//! A [`Shape`] whose buckets have no length keeps a stamp for each call in their place, and is not longer at all.

use std::collections::VecDeque;
use std::time::Duration;

use crate::rate::{Rate, Rates};

/// How one window is counted. All times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// What is admitted in a window.
    pub limit: u32,
    /// The window.
    pub length: u64,
    /// The length of a bucket; 0: each call has a stamp of its own.
    pub bucket: u64,
    /// How much later than charged a permit may be used: it is counted as used then.
    pub ahead: u64,
    /// How far the clock may be behind when a call is charged.
    pub slack: u64,
}

impl Shape {
    /// `rate` in so many buckets; 0: exactly.
    pub fn new(rate: Rate, buckets: u32) -> Self {
        let length = millis(rate.window).max(1);
        let bucket = if buckets == 0 { 0 } else { length.div_ceil(u64::from(buckets)) };
        Shape { limit: rate.count.get(), length, bucket, ahead: 0, slack: 0 }
    }

    /// The same for permits that are used up to `ahead` later than they are charged.
    #[must_use]
    pub fn ahead(mut self, ahead: u64) -> Self {
        self.ahead = ahead;
        self
    }

    /// The same for a clock that may be `slack` behind.
    #[must_use]
    pub fn slack(mut self, slack: u64) -> Self {
        self.slack = slack;
        self
    }

    /// The longest window that it may behave like.
    pub fn at_worst(&self) -> u64 {
        self.length + self.bucket + self.ahead + self.slack
    }

    fn place(&self, now: u64) -> u64 {
        (now + self.ahead) / self.bucket.max(1)
    }

    /// The first bucket that still counts.
    fn first(&self, now: u64) -> u64 {
        now.saturating_sub(self.length + self.slack) / self.bucket.max(1)
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The shapes of a limit's windows.
pub fn shapes(rates: &Rates, buckets: u32) -> Vec<Shape> {
    rates.windows().iter().map(|rate| Shape::new(*rate, buckets)).collect()
}

/// What one caller has used of all windows of a limit.
#[derive(Debug)]
pub struct Meter {
    windows: Box<[Window]>,
}

#[derive(Debug)]
enum Window {
    Ring(Ring),
    Log(Log),
}

impl Meter {
    /// Nothing used. The same `shapes` go with every other call.
    pub fn new(shapes: &[Shape]) -> Self {
        let window = |shape: &Shape| {
            if shape.bucket == 0 { Window::Log(Log::default()) } else { Window::Ring(Ring::new(shape)) }
        };
        Meter { windows: shapes.iter().map(window).collect() }
    }

    fn each<'a>(&'a mut self, shapes: &'a [Shape]) -> impl Iterator<Item = (&'a mut Window, &'a Shape)> {
        self.windows.iter_mut().zip(shapes)
    }

    /// Lets go of what has left the windows at `now`.
    pub fn advance(&mut self, shapes: &[Shape], now: u64) {
        for (window, shape) in self.each(shapes) {
            match window {
                Window::Ring(ring) => ring.advance(shape, now),
                Window::Log(log) => log.advance(shape, now),
            }
        }
    }

    /// Counts `cost` at the moment it was last advanced to, whether or not it is free.
    pub fn charge(&mut self, shapes: &[Shape], now: u64, cost: u32) {
        for (window, shape) in self.each(shapes) {
            match window {
                Window::Ring(ring) => ring.charge(cost),
                Window::Log(log) => log.charge(now + shape.ahead, cost),
            }
        }
    }

    /// Takes back what was charged at `at` and never used.
    pub fn give_back(&mut self, shapes: &[Shape], at: u64, cost: u32) {
        for (window, shape) in self.each(shapes) {
            match window {
                Window::Ring(ring) => ring.give_back(shape.place(at), cost),
                Window::Log(log) => log.give_back(at + shape.ahead, cost),
            }
        }
    }

    /// What may be admitted at once, if each limit is cut down to this share of it.
    pub fn free(&self, shapes: &[Shape], share: f64) -> u32 {
        let free = |(window, shape): (&Window, &Shape)| cut(shape.limit, share).saturating_sub(window.sum());
        self.windows.iter().zip(shapes).map(free).min().unwrap_or(u32::MAX)
    }

    /// The most that is counted in any window.
    pub fn used(&self) -> u32 {
        self.windows.iter().map(Window::sum).max().unwrap_or(0)
    }

    /// Until when what is free stays as it is, and calls are counted in the same bucket.
    pub fn stays_until(&self, shapes: &[Shape], now: u64) -> u64 {
        let end = |shape: &Shape| match shape.bucket {
            0 => now,
            bucket => {
                let charged = (shape.place(now) + 1) * bucket - shape.ahead;
                let expires = (shape.first(now) + 1) * bucket + shape.length + shape.slack;
                charged.min(expires)
            }
        };
        shapes.iter().map(end).min().unwrap_or(u64::MAX)
    }

    /// When `cost` will be free, if nobody takes any more, and the window that is in the way.
    pub fn free_at(&self, shapes: &[Shape], now: u64, cost: u32, share: f64) -> (u64, usize) {
        let at = |(window, shape): (&Window, &Shape)| {
            let over = (u64::from(window.sum()) + u64::from(cost)).saturating_sub(u64::from(cut(shape.limit, share)));
            match window {
                Window::Ring(ring) => ring.frees(shape, over, now),
                Window::Log(log) => log.frees(shape, over, now),
            }
        };
        let times = self.windows.iter().zip(shapes).map(at).enumerate();
        times.map(|(i, at)| (at, i)).max().unwrap_or((now, 0))
    }
}

/// A limit cut down to a share of it; one call is always left.
pub(super) fn cut(limit: u32, share: f64) -> u32 {
    if share >= 1.0 { limit } else { ((f64::from(limit) * share) as u32).max(1) }
}

impl Window {
    fn sum(&self) -> u32 {
        match self {
            Window::Ring(ring) => ring.sum,
            Window::Log(log) => log.sum,
        }
    }
}

/// Counts by bucket; the place of a bucket is its number modulo the length.
#[derive(Debug)]
struct Ring {
    oldest: u64,
    newest: u64,
    sum: u32,
    counts: Box<[u32]>,
}

impl Ring {
    fn new(shape: &Shape) -> Self {
        let buckets = (shape.length + shape.slack + shape.ahead) / shape.bucket + 3;
        Ring { oldest: 0, newest: 0, sum: 0, counts: vec![0; buckets as usize].into() }
    }

    fn count(&mut self, bucket: u64) -> &mut u32 {
        let places = self.counts.len() as u64;
        &mut self.counts[(bucket % places) as usize]
    }

    fn advance(&mut self, shape: &Shape, now: u64) {
        let (first, newest) = (shape.first(now), shape.place(now));
        if first > self.newest {
            if self.sum > 0 {
                self.counts.fill(0);
                self.sum = 0;
            }
            self.oldest = first;
        }
        while self.oldest < first {
            let gone = std::mem::take(self.count(self.oldest));
            self.sum -= gone;
            self.oldest += 1;
        }
        self.newest = self.newest.max(newest);
    }

    fn charge(&mut self, cost: u32) {
        let newest = self.newest;
        let count = self.count(newest);
        *count = count.saturating_add(cost);
        self.sum = self.sum.saturating_add(cost);
    }

    fn give_back(&mut self, bucket: u64, cost: u32) {
        if (self.oldest..=self.newest).contains(&bucket) {
            let count = self.count(bucket);
            let back = cost.min(*count);
            *count -= back;
            self.sum -= back;
        }
    }

    fn frees(&self, shape: &Shape, over: u64, now: u64) -> u64 {
        let mut gone = 0;
        let mut bucket = self.oldest;
        while gone < over && bucket <= self.newest {
            gone += u64::from(self.counts[(bucket % self.counts.len() as u64) as usize]);
            bucket += 1;
        }
        if over == 0 { now } else { bucket * shape.bucket + shape.length + shape.slack }
    }
}

/// A stamp for each call.
#[derive(Debug, Default)]
struct Log {
    sum: u32,
    calls: VecDeque<(u64, u32)>,
}

impl Log {
    fn advance(&mut self, shape: &Shape, now: u64) {
        while let Some((at, cost)) = self.calls.front()
            && at + shape.length + shape.slack <= now
        {
            self.sum -= cost;
            self.calls.pop_front();
        }
    }

    fn charge(&mut self, at: u64, cost: u32) {
        self.sum = self.sum.saturating_add(cost);
        match self.calls.back_mut() {
            Some((last, count)) if *last >= at => *count = count.saturating_add(cost),
            _ => self.calls.push_back((at, cost)),
        }
    }

    fn give_back(&mut self, at: u64, cost: u32) {
        if let Some((_, count)) = self.calls.iter_mut().rev().find(|(stamp, _)| *stamp == at) {
            let back = cost.min(*count);
            *count -= back;
            self.sum -= back;
        }
    }

    fn frees(&self, shape: &Shape, over: u64, now: u64) -> u64 {
        let mut gone = 0;
        for (at, cost) in &self.calls {
            if gone >= over {
                break;
            }
            gone += u64::from(*cost);
            if gone >= over {
                return at + shape.length + shape.slack;
            }
        }
        now
    }
}

#[cfg(test)]
mod tests;
