//! Who is calling, and what they have already written.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::op::Op;
use crate::position::Position;

tokio::task_local! {
    static CURRENT: Context;
    static HELD: Option<&'static Op>;
}

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
}

#[derive(Default)]
struct Shared {
    user: Option<String>,
    written: Mutex<Option<Position>>,
    /// A write happened whose position could not be learned: only the primary is sure to show it.
    written_unseen: AtomicBool,
}

impl Context {
    /// A caller without a name.
    pub fn anonymous() -> Self {
        Context::default()
    }

    /// A caller with a name of your choice, such as a user id.
    pub fn user(id: impl Into<String>) -> Self {
        let shared = Shared { user: Some(id.into()), ..Shared::default() };
        Context { shared: Arc::new(shared), ..Context::default() }
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

    /// The moment after which no call of this context goes on.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Notes that this caller's data is at `position` now; an earlier position changes nothing.
    pub fn wrote(&self, position: Position) {
        let mut written = self.shared.written.lock();
        *written = Position::later(*written, Some(position));
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
            .finish()
    }
}

/// Spawns `future` on the runtime as the same caller: `tokio::spawn` alone loses the [`Context`].
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Context::current() {
        Some(context) => tokio::spawn(context.scope(future)),
        None => tokio::spawn(future),
    }
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
