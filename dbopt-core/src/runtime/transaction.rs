//! Calls written as closures: what the macros write as methods.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use super::{Begun, Runtime};
use crate::backend::Backend;
use crate::op::{Intent, Op};

/// An async closure that may be called again, whose future's properties can be named in a bound.
///
/// Implemented for every `async |conn| ..`; it exists because `AsyncFn` alone cannot say that its future is `Send`.
pub trait AsyncFnRef<T, R>: AsyncFn(T) -> R + Fn(T) -> <Self as AsyncFnRef<T, R>>::Fut {
    /// The future it returns.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> AsyncFnRef<T, R> for F
where
    F: AsyncFn(T) -> R + Fn(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// The same for a closure that is called once.
pub trait AsyncFnOnceRef<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as AsyncFnOnceRef<T, R>>::Fut {
    /// The future it returns.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> AsyncFnOnceRef<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

static TRANSACTION: Op = Op::new("Db::transaction", Intent::Write);

// Written as functions that return futures: only so can the signature promise that they are `Send`.
#[allow(clippy::manual_async_fn)]
impl<B: Backend> Runtime<B> {
    /// Runs `body` in one transaction on the primary: committed when it returns Ok, rolled back when it returns an error.
    ///
    /// # Errors
    /// The body's own, or what kept it from running or committing.
    ///
    /// # Cancel safety
    /// Dropping the future rolls back, except during COMMIT, where the outcome stays unknown.
    pub fn transaction<'a, T, E, F>(self: &'a Arc<Self>, body: F) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFnOnce(&'c mut B::Connection) -> Result<T, E>
            + AsyncFnOnceRef<&'c mut B::Connection, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        E: From<B::Error> + Send + 'a,
        T: Send + 'a,
    {
        self.write(&TRANSACTION, body)
    }

    /// Runs `body` as a write described by `op`.
    ///
    /// # Errors
    /// The body's own, or what kept it from running or committing.
    ///
    /// # Cancel safety
    /// As for [`Runtime::transaction`].
    pub fn write<'a, T, E, F>(
        self: &'a Arc<Self>,
        op: &'static Op,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFnOnce(&'c mut B::Connection) -> Result<T, E>
            + AsyncFnOnceRef<&'c mut B::Connection, Result<T, E>, Fut: Send>
            + Send
            + 'a,
        E: From<B::Error> + Send + 'a,
        T: Send + 'a,
    {
        async move {
            let body = body;
            let mut call = self.call(op);
            let mut lease = call.acquire().await?;
            let attempt = call.run(body(&mut *lease)).await;
            call.finish_once(lease, attempt).await
        }
    }

    /// Runs `body` as a read described by `op`; it may be run again on another node.
    ///
    /// # Errors
    /// The body's own, or what kept it from running.
    ///
    /// # Cancel safety
    /// Dropping the future cancels what is running on the server.
    pub fn read<'a, T, E, F>(
        self: &'a Arc<Self>,
        op: &'static Op,
        body: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        for<'c> F: AsyncFn(&'c mut B::Connection) -> Result<T, E>
            + AsyncFnRef<&'c mut B::Connection, Result<T, E>, Fut: Send>
            + Send
            + Sync
            + 'a,
        E: From<B::Error> + Send + 'a,
        T: Send + 'a,
    {
        async move {
            let body = body;
            let mut call = self.call(op);
            loop {
                let mut lease = call.acquire().await?;
                let mut second = None;
                let mut attempt = {
                    let mut first = pin!(body(&mut *lease));
                    match call.begin(first.as_mut()).await {
                        Begun::Ended(attempt) => attempt,
                        Begun::Slow(other) => {
                            let second = second.insert(Box::pin(async {
                                let mut other = other;
                                let result = body(&mut *other).await;
                                (other, result)
                            }));
                            call.race(first, second.as_mut()).await
                        }
                    }
                };
                if let Some(second) = second {
                    attempt = call.settle(&mut lease, attempt, second).await;
                }
                if let Some(result) = call.finish(lease, attempt).await {
                    return result;
                }
            }
        }
    }
}
