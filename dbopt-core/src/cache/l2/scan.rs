//! What goes through many keys: patterns, clearing, counting. Never in one command that holds up Redis.

use super::events::Message;
use super::invalidate::{Missed, Pending, What};
use super::layer::{Inner, Layer};
use super::ticket::position_text;
use super::{Error, scripts};
use crate::cache::pattern::Pattern;
use crate::position::Position;
use redis::FromRedisValue;

/// How many keys Redis looks at in one step.
const STEP: usize = 500;

/// What a namespace takes in Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Values.
    pub values: u64,
    /// Generations of tags.
    pub generations: u64,
    /// Memory of the whole server, with what others keep there, in bytes.
    pub server_memory: u64,
}

impl Layer {
    /// Invalidates every tag whose name matches, and removes every entry whose name matches. Returns how many; with `dry_run`
    /// only that. Fills under way are not stored. `position`: what fills must have replayed from now on.
    ///
    /// # Errors
    /// [`Missed`]: a part may have been done, and an invalidation of everything waits in the journal instead.
    ///
    /// # Cancel safety
    /// As after an error.
    pub async fn invalidate_pattern(
        &self,
        pattern: &Pattern,
        position: Option<Position>,
        dry_run: bool,
    ) -> Result<u64, Missed> {
        let mut pending = Pending { inner: &self.inner, what: What::Everything, position, armed: !dry_run };
        let result = self.inner.sweep(pattern, position, dry_run).await;
        pending.armed = false;
        result.map_err(|cause| Missed { cause, silenced_by: if dry_run { None } else { pending.keep() } })
    }

    /// Makes everything a miss at once, then removes the values. `position`: what fills must have replayed from now on.
    ///
    /// # Errors
    /// [`Missed`]: it waits in the journal.
    ///
    /// # Cancel safety
    /// When dropped it goes to the journal, or only values that nothing serves stay until they expire.
    pub async fn clear(&self, position: Option<Position>) -> Result<(), Missed> {
        self.begin_anew(position).await?;
        let inner = &self.inner;
        let mut values = inner.scan(&inner.names.values, &Pattern::new("*"));
        // What is left when this fails is served to nobody.
        while let Ok(Some(found)) = values.next().await {
            let _ = inner.unlink(&found).await;
        }
        Ok(())
    }

    /// Makes everything a miss, and removes nothing: what nobody is served any more expires.
    ///
    /// # Errors
    /// [`Missed`]: it waits in the journal.
    ///
    /// # Cancel safety
    /// When dropped it goes to the journal.
    pub async fn begin_anew(&self, position: Option<Position>) -> Result<(), Missed> {
        let inner = &self.inner;
        let mut pending = Pending { inner, what: What::Everything, position, armed: true };
        let begun = match inner.admit() {
            Ok(()) => inner.settle(inner.begin_epoch(position, inner.config.write_timeout).await),
            refused => refused,
        };
        pending.armed = false;
        begun.map_err(|cause| Missed { cause, silenced_by: pending.keep() })
    }

    /// Counts the namespace's keys; goes through all keys of the server.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let inner = &self.inner;
        let mut usage = Usage::default();
        let all = Pattern::new("*");
        for (prefix, count) in
            [(&inner.names.values, &mut usage.values), (&inner.names.generations, &mut usage.generations)]
        {
            let mut keys = inner.scan(prefix, &all);
            while let Some(found) = keys.next().await? {
                *count += found.len() as u64;
            }
        }
        let mut info = redis::cmd("INFO");
        info.arg("memory");
        let text: String = inner.command(info).await?;
        let memory = text.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
        usage.server_memory = memory.unwrap_or_default();
        Ok(usage)
    }

    /// The names of a method's entries, at most `limit`; some may be outdated.
    ///
    /// # Errors
    /// As [`look_up`](Self::look_up).
    ///
    /// # Cancel safety
    /// Dropping it loses nothing.
    pub async fn entries_of(&self, method: &str, limit: usize) -> Result<Vec<String>, Error> {
        let inner = &self.inner;
        let prefix = format!("{}{method}:", inner.names.values);
        let mut names = std::collections::BTreeSet::new();
        let mut keys = inner.scan(&prefix, &Pattern::new("*"));
        while names.len() < limit
            && let Some(found) = keys.next().await?
        {
            // `A:` is also how the entries of `A::b` begin.
            let own = found.iter().filter(|name| !name[prefix.len()..].contains(':'));
            names.extend(own.map(|name| name[inner.names.values.len()..].to_owned()));
        }
        Ok(names.into_iter().take(limit).collect())
    }
}

impl Inner {
    /// The whole of a pattern invalidation.
    async fn sweep(&self, pattern: &Pattern, position: Option<Position>, dry_run: bool) -> Result<u64, Error> {
        if !dry_run {
            // First: a fill that began before is fenced, one that begins later needs no fence.
            let position = position_text(position);
            let budget = self.config.write_timeout;
            let keys = [self.names.epoch.as_str()];
            self.run::<i64>(&scripts::SWEEP, &keys, &[position.as_bytes()], budget).await?;
        }
        let mut seen = 0;
        let mut tags = self.scan(&self.names.generations, pattern);
        while let Some(found) = tags.next().await? {
            seen += found.len() as u64;
            if !dry_run && !found.is_empty() {
                let prefix = self.names.generations.len();
                let names: Vec<String> = found.iter().map(|name| name[prefix..].to_owned()).collect();
                self.send(&names, position, None, false).await?;
            }
        }
        let mut values = self.scan(&self.names.values, pattern);
        while let Some(found) = values.next().await? {
            seen += found.len() as u64;
            if !dry_run {
                self.unlink(&found).await?;
            }
        }
        if !dry_run {
            let message = Message::pattern(self.instance, pattern);
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(&self.names.events).arg(message);
            self.command::<i64>(publish).await?;
        }
        Ok(seen)
    }

    fn scan(&self, prefix: &str, pattern: &Pattern) -> Scan<'_> {
        Scan { inner: self, glob: pattern.glob(prefix), cursor: Some(0) }
    }

    async fn unlink(&self, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(names);
        self.command::<i64>(unlink).await.map(drop)
    }

    async fn command<T: FromRedisValue>(&self, command: redis::Cmd) -> Result<T, Error> {
        self.admit()?;
        let mut connection = self.link.connection().ok_or(Error::Down)?;
        let asked = async { Ok(command.query_async(&mut connection).await?) };
        let result = tokio::time::timeout(self.config.write_timeout, asked).await;
        self.settle(result.unwrap_or(Err(Error::TimedOut)))
    }
}

struct Scan<'a> {
    inner: &'a Inner,
    glob: String,
    /// `None` at the end.
    cursor: Option<u64>,
}

impl Scan<'_> {
    /// The next names, perhaps none of them; `None` at the end. A name may come twice.
    async fn next(&mut self) -> Result<Option<Vec<String>>, Error> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(&self.glob).arg("COUNT").arg(STEP);
        let (next, found): (u64, Vec<String>) = self.inner.command(command).await?;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(found))
    }
}
