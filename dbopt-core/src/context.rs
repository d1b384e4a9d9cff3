//! Who is calling, and what they have already written.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::op::Op;
use crate::position::Position;
use crate::rate::{Rate, Scope};

/// Seeded anew in each process, so that nobody can prepare names that collide.
static TAGS: LazyLock<RandomState> = LazyLock::new(RandomState::default);

tokio::task_local! {
    static CURRENT: Context;
    static HELD: Option<&'static Op>;
    static WATCHED: Watched;
}

/// Who watches what belongs together, whatever contexts it has; the room that made it knows what it is.
pub(crate) type Watched = Arc<dyn Any + Send + Sync>;

/// A read-your-writes token: reads made with it see everything up to that position.
pub type Token = Position;

/// The caller of a request: who it is, by when it wants an answer, and what it has written so far.
///
/// Calls made inside [`Context::scope`] see their own earlier writes wherever they run. Clones share one
/// state, so a context may be passed to tasks that work for the same request ([`spawn`] does it).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use dbopt_core::context::Context;
/// let user = Context::user("alice").scope(async { Context::current().map(|c| c.user_id().map(str::to_owned)) }).await;
/// assert_eq!(user.flatten().as_deref(), Some("alice"));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Context {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
    /// What another process gave out: this process's caches do not know what was written there.
    given: Option<Position>,
    /// Whose limits count, as a number; 0 for all who have no name.
    tag: u64,
    /// The name of a caller who has no user id.
    key: Option<Arc<str>>,
    /// Why this caller's calls are not refused by limits.
    admin: Option<Arc<str>>,
    /// What limits said; kept where somebody will ask.
    report: Option<Arc<Mutex<Vec<Consulted>>>>,
}

/// What a limit said to a call of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consulted {
    /// Who is limited together.
    pub scope: Scope,
    /// The limit's name, such as `user`, or `Flights.board-user` for one of a method's own.
    pub name: Arc<str>,
    /// Its windows.
    pub windows: Vec<Rate>,
    /// What is left, as far as this instance knows.
    pub remaining: u32,
    /// When more will be.
    pub reset: Duration,
    /// The call was refused; when to come back.
    pub refused: Option<Duration>,
}

/// An administrator's reason is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("to pass the limits a reason is needed, which is written to the log: `.admin(\"nightly import\")`")]
pub struct NoReason;

/// A number for a caller's name, for tables in this process; never 0.
#[inline]
pub(crate) fn tag(kind: u8, name: &str) -> u64 {
    tag_bytes(kind, name.as_bytes())
}

/// The same for a name in bytes.
#[inline]
pub(crate) fn tag_bytes(kind: u8, name: &[u8]) -> u64 {
    let mut hasher = TAGS.build_hasher();
    hasher.write(name);
    hasher.write_u8(kind);
    hasher.finish().max(1)
}

/// The same for a caller known by a number.
#[inline]
pub(crate) fn number_tag(number: u64) -> u64 {
    TAGS.hash_one(number).max(1)
}

/// The kinds of names: a user id, a key of a caller without one, a key that a method makes of its arguments.
pub(crate) const USER: u8 = b'u';
pub(crate) const KEY: u8 = b'k';
pub(crate) const ARGUMENT: u8 = b'a';

#[derive(Default)]
struct Shared {
    user: Option<String>,
    written: Mutex<Option<Position>>,
    /// A write happened whose position could not be learned: only the primary is sure to show it.
    written_unseen: AtomicBool,
    /// Something it had written was lost.
    lost: AtomicBool,
    /// What a room above keeps about this caller's calls.
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Context {
    /// A caller without a name.
    pub fn anonymous() -> Self {
        Context::default()
    }

    /// A caller with a name of your choice, such as a user id.
    pub fn user(id: impl Into<String>) -> Self {
        let id = id.into();
        let tag = tag(USER, &id);
        let shared = Shared { user: Some(id), ..Shared::default() };
        Context { shared: Arc::new(shared), tag, ..Context::default() }
    }

    /// Names a caller who has no user id for the limits, such as by its address: `Context::anonymous().key("ip:192.0.2.7")`.
    /// Callers with neither share one limit. An empty key, and one beside a user id, changes nothing.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        if self.shared.user.is_none() && !key.is_empty() {
            self.tag = tag(KEY, key);
            self.key = Some(key.into());
        }
        self
    }

    /// Lets calls of this context pass all limits. They are counted all the same, and each is written to the log with the reason
    /// (target `dbopt::audit`). Only code can give this, never the name of a user.
    ///
    /// # Errors
    /// Without a reason.
    pub fn admin(mut self, reason: &str) -> Result<Self, NoReason> {
        let reason = reason.trim();
        if reason.is_empty() {
            return Err(NoReason);
        }
        self.admin = Some(reason.into());
        Ok(self)
    }

    /// Why this caller's calls are not refused by limits, if they are not.
    pub fn admin_reason(&self) -> Option<&str> {
        self.admin.as_deref()
    }

    /// Keeps what limits say to calls of this context, for [`Context::consulted`].
    #[must_use]
    pub fn with_report(mut self) -> Self {
        self.report = Some(Arc::default());
        self
    }

    /// Whether anybody will ask what limits said.
    pub(crate) fn reports(&self) -> bool {
        self.report.is_some()
    }

    /// What each limit said last to calls of this context and its clones, if it was made [`with_report`](Context::with_report).
    pub fn consulted(&self) -> Vec<Consulted> {
        self.report.as_ref().map(|report| report.lock().clone()).unwrap_or_default()
    }

    /// Notes what a limit said; of one that was asked before, the latest. A refusal stays.
    pub(crate) fn note(&self, mut consulted: Consulted) {
        let Some(report) = &self.report else { return };
        let mut report = report.lock();
        match report.iter_mut().find(|known| known.name == consulted.name) {
            Some(known) => {
                consulted.refused = consulted.refused.or(known.refused);
                *known = consulted;
            }
            None => report.push(consulted),
        }
    }

    /// The tag of the running code's caller, and whether limits have more to do than to count.
    #[inline]
    pub(crate) fn caller() -> (u64, bool) {
        CURRENT
            .try_with(|context| (context.tag, context.admin.is_some() || context.report.is_some()))
            .unwrap_or((0, false))
    }

    /// The name of the running code's caller for the limits, with its kind in front; empty for all who have none.
    pub(crate) fn caller_name() -> (String, Option<String>) {
        let name = |context: &Context| match (&context.shared.user, &context.key) {
            (Some(user), _) => (format!("u:{user}"), Some(user.clone())),
            (None, Some(key)) => (format!("k:{key}"), None),
            (None, None) => (String::new(), None),
        };
        CURRENT.try_with(name).unwrap_or_default()
    }

    /// Makes later reads see everything up to `token`, which another process gave out.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.wrote(token);
        self.given = Position::later(self.given, Some(token));
        self
    }

    /// Bounds every call of this context: none goes on after `deadline`.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Runs `future` as this caller.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// The caller of the running code, if there is one.
    pub fn current() -> Option<Context> {
        CURRENT.try_with(Context::clone).ok()
    }

    /// The token of the running code's caller: what it has written, or was given, up to now.
    ///
    /// `None` outside a context and before the first write.
    pub fn token() -> Option<Token> {
        CURRENT.try_with(Context::latest_token).ok().flatten()
    }

    /// What this caller has written, or was given, up to now.
    pub fn latest_token(&self) -> Option<Token> {
        *self.shared.written.lock()
    }

    /// The token that the running code's caller was given by another process.
    #[inline]
    pub(crate) fn given_token() -> Option<Token> {
        CURRENT.try_with(|context| context.given).ok().flatten()
    }

    /// The name given to [`Context::user`].
    pub fn user_id(&self) -> Option<&str> {
        self.shared.user.as_deref()
    }

    /// What a room keeps about the calls of this context and its clones, made at the first question. `None`: another one has its own here.
    pub(crate) fn attached<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.shared.attached.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// Whether the running code has a caller.
    #[inline]
    pub(crate) fn is_within() -> bool {
        CURRENT.try_with(|_| ()).is_ok()
    }

    /// The moment after which no call of this context goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes that this caller's data is at `position` now; an earlier position changes nothing.
    pub fn wrote(&self, position: Position) {
        let mut written = self.shared.written.lock();
        *written = Position::later(*written, Some(position));
    }

    /// Whether a call of this context found that something its caller had written, here or with a token that was given to it, was lost when
    /// another node became the primary. Its reads show what is there.
    pub fn has_lost_writes(&self) -> bool {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Notes that something was lost; whether that is news.
    pub(crate) fn lost_writes(&self) -> bool {
        !self.shared.lost.swap(true, Ordering::Relaxed)
    }

    /// Notes that this caller wrote something whose position is not known: its reads stay on the primary from now on.
    pub(crate) fn wrote_unseen(&self) {
        self.shared.written_unseen.store(true, Ordering::Relaxed);
    }

    pub(crate) fn needs_primary(&self) -> bool {
        self.shared.written_unseen.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("user", &self.shared.user)
            .field("token", &self.latest_token())
            .field("deadline", &self.deadline)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Spawns `future` on the runtime as the same caller: `tokio::spawn` alone loses the [`Context`].
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match (Context::current(), watched()) {
        (Some(context), None) => tokio::spawn(context.scope(future)),
        (Some(context), Some(by)) => tokio::spawn(watching(by, context.scope(future))),
        (None, Some(by)) => tokio::spawn(watching(by, future)),
        (None, None) => tokio::spawn(future),
    }
}

/// Runs `future` while `by` watches its calls, whatever their contexts.
pub(crate) fn watching<F: Future>(by: Watched, future: F) -> impl Future<Output = F::Output> {
    WATCHED.scope(by, future)
}

/// Who watches the running code.
pub(crate) fn watched() -> Option<Watched> {
    WATCHED.try_with(Watched::clone).ok()
}

/// Whether anybody does.
#[inline]
pub(crate) fn is_watched() -> bool {
    WATCHED.try_with(|_| ()).is_ok()
}

/// Runs `body` as the holder of a connection, so that [`holder`] tells calls made inside it.
pub(crate) fn holding<F: Future>(op: &'static Op, body: F) -> impl Future<Output = F::Output> {
    HELD.scope(Some(op), body)
}

/// The method whose body is running, if the current code is inside one.
pub(crate) fn holder() -> Option<&'static Op> {
    HELD.try_with(|op| *op).ok().flatten()
}

/// Runs `future` as work of its own although it stands inside a method's body.
///
/// A call made inside the body of another is refused, because it would use a second connection: it would
/// not see what the body has written, and a pool full of such callers would wait for itself for ever. Where a second
/// connection is what you want (an audit record that must survive a rollback), say so with this function. Calls
/// inside it take a connection that is free at once or fail; they never queue.
pub fn independent<F: Future>(future: F) -> impl Future<Output = F::Output> {
    INDEPENDENT.scope(holder().is_some(), HELD.scope(None, future))
}

tokio::task_local! {
    static INDEPENDENT: bool;
}

/// Whether the current call belongs to a task that already holds a connection.
pub(crate) fn must_not_queue() -> bool {
    INDEPENDENT.try_with(|inside| *inside).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Lsn;

    fn at(lsn: u64) -> Position {
        Position { timeline: 1, lsn: Lsn(lsn) }
    }

    #[tokio::test]
    async fn token_only_moves_forward() {
        let context = Context::anonymous();
        context.wrote(at(10));
        context.wrote(at(5));
        assert_eq!(context.latest_token(), Some(at(10)));
    }

    #[test]
    fn who_passes_the_limits_says_why() {
        assert_eq!(Context::user("ann").admin("  ").map(drop), Err(NoReason));
        assert_eq!(Context::user("ann").admin("import").unwrap().admin_reason(), Some("import"));
        assert_eq!(Context::user("admin").admin_reason(), None);
    }

    #[test]
    fn names_of_different_kinds_are_different_callers() {
        let tags = [Context::user("a"), Context::anonymous().key("a"), Context::anonymous(), Context::user("b")];
        let mut tags: Vec<u64> = tags.iter().map(|context| context.tag).collect();
        tags.push(tag(ARGUMENT, "a"));
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 5);
        assert_eq!(Context::user("a").key("b").tag, Context::user("a").tag);
    }

    #[tokio::test]
    async fn spawn_carries_the_caller() {
        let user = Context::user("ann")
            .scope(async { spawn(async { Context::current().and_then(|c| c.user_id().map(String::from)) }).await })
            .await;
        assert_eq!(user.unwrap().as_deref(), Some("ann"));
    }

    #[tokio::test]
    async fn independent_work_is_no_longer_inside_the_body() {
        static OP: Op = Op::new("Outer::call", crate::op::Intent::Write);
        holding(&OP, async {
            assert!(holder().is_some());
            independent(async {
                assert!(holder().is_none());
                assert!(must_not_queue());
            })
            .await;
        })
        .await;
        independent(async { assert!(!must_not_queue()) }).await;
    }
}
