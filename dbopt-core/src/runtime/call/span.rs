//! A call in a trace, with the feature `spans`; without it there are no spans, and nothing is asked.
//!
//! Names of fields are those of OpenTelemetry's conventions for databases, where these have one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tracing::field::Empty;
use tracing::span::Entered;
use tracing::{Instrument as _, Span, info_span};

use crate::observe::Outcome;
use crate::op::{Intent, Lane, Op};

/// Whether there are spans at all.
const ENABLED: bool = cfg!(feature = "spans");

/// The span of a call, until it is dropped.
pub(in crate::runtime) struct CallSpan(Option<Span>);

impl CallSpan {
    #[inline]
    pub(super) fn begin(op: &'static Op) -> Self {
        let intent = if op.intent() == Intent::Read { "read" } else { "write" };
        let span = ENABLED.then(|| {
            info_span!(
                target: "dbopt::call",
                "call",
                otel.name = op.name(),
                db.system.name = "postgresql",
                db.query.summary = op.name(),
                dbopt.intent = intent,
                dbopt.lane = op.lane().name(),
                dbopt.node = Empty,
                dbopt.cache = Empty,
                otel.status_code = Empty,
                "error.type" = Empty,
            )
        });
        CallSpan(span.filter(|span| !span.is_disabled()))
    }

    /// For what another task does for it.
    #[inline]
    pub(super) fn get(&self) -> Option<&Span> {
        self.0.as_ref()
    }

    /// Makes what is done meanwhile a part of it.
    #[inline]
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_ref().map(Span::enter)
    }

    /// Asking a pool for a connection, as a part of it.
    #[inline]
    pub(super) async fn waits<F: Future>(
        &self,
        node: impl FnOnce() -> Arc<str>,
        lane: Lane,
        work: Pin<&mut F>,
    ) -> F::Output {
        let Some(call) = &self.0 else { return work.await };
        let (node, lane) = (node(), lane.name());
        let part = info_span!(target: "dbopt::pool", parent: call, "pool wait", dbopt.node = &*node, dbopt.lane = lane);
        work.instrument(part).await
    }

    /// Asking Redis, and whoever loads the same, as a part of it.
    #[inline]
    pub(in crate::runtime) async fn looks<F: Future>(&self, work: Pin<&mut F>) -> F::Output {
        let Some(call) = &self.0 else { return work.await };
        work.instrument(info_span!(target: "dbopt::cache", parent: call, "cache look-up")).await
    }

    /// What the cache said.
    #[inline]
    pub(in crate::runtime) fn cache(&self, said: &'static str) {
        if let Some(span) = &self.0 {
            span.record("dbopt.cache", said);
        }
    }

    /// Where it runs.
    #[inline]
    pub(super) fn at(&self, node: impl FnOnce() -> Arc<str>) {
        if let Some(span) = &self.0 {
            span.record("dbopt.node", &*node());
        }
    }

    /// How it went.
    #[inline]
    pub(super) fn ended(&self, outcome: Outcome) {
        let (Some(span), Some(failure)) = (&self.0, failure(outcome)) else { return };
        span.record("otel.status_code", "ERROR");
        span.record("error.type", failure);
    }
}

fn failure(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok => None,
        Outcome::ApplicationError => Some("application"),
        Outcome::InfrastructureError => Some("infrastructure"),
    }
}
