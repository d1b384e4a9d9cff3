//! What the helpers say together.

use crate::errors::Errors;
use crate::model::{Cached, Cost, Given, Helpers, Intent, Layers, Operation, RateLimited, Read};

pub(super) fn decide(helpers: &Helpers, errors: &mut Errors) -> Operation {
    contradictions(helpers, errors);
    if let Some(cached) = &helpers.cached {
        cache_contradictions(&cached.value, errors);
    }
    if let Some(limited) = &helpers.rate_limited {
        cost_fits(&limited.value, errors);
    }
    let read = helpers.read.as_ref().map(|read| &read.value);
    let write = helpers.write.as_ref().map(|write| &write.value);
    Operation {
        intent: intent(helpers, errors),
        critical: helpers.critical.is_some(),
        max_staleness: read.and_then(|read| read.max_staleness.as_ref()).map(|given| given.value),
        from_primary: read.is_some_and(|read| read.from_primary.is_some()),
        idempotent: write.is_some_and(|write| write.idempotent.is_some()),
        without_transaction: write.and_then(|write| write.transaction.as_ref()).is_some_and(|given| !given.value),
        max_concurrent: read
            .and_then(|read| read.max_concurrent.as_ref())
            .or(write.and_then(|write| write.max_concurrent.as_ref()))
            .map(|given| given.value),
        hedge: read.and_then(|read| read.hedge.as_ref()).map(|given| given.value),
    }
}

/// `#[cached]` and `#[batched]` alone are reads, `#[critical]` alone is a write.
fn intent(helpers: &Helpers, errors: &mut Errors) -> Intent {
    if helpers.write.is_some() {
        return Intent::Write;
    }
    if helpers.read.is_some() || helpers.cached.is_some() || helpers.batched.is_some() {
        return Intent::Read;
    }
    if let (None, Some(limited)) = (&helpers.critical, &helpers.rate_limited) {
        errors.at(&limited.tokens, "`#[rate_limited]` does not say what the method does: add `#[read]` or `#[write]`");
    }
    Intent::Write
}

fn contradictions(helpers: &Helpers, errors: &mut Errors) {
    if let Some(write) = &helpers.write {
        if helpers.read.is_some() {
            let message = "`#[read]` and `#[write]` contradict each other: keep `#[write]` if the body changes anything, \
                           else `#[read]`";
            errors.at(&write.tokens, message);
        }
        if helpers.cached.is_some() {
            let message = "`#[cached]` is for reads and `#[write]` is not one: keep one of them (a write says which tags \
                           it makes stale: `#[write(invalidates = [\"flights\"])]`)";
            errors.at(&write.tokens, message);
        }
        if helpers.batched.is_some() {
            errors.at(&write.tokens, "`#[batched]` joins reads and `#[write]` is not one: keep one of them");
        }
    }
    let Some(read) = &helpers.read else { return };
    hedging(&read.value, helpers, errors);
    let Some(staleness) = &read.value.max_staleness else { return };
    if let Some(Given { tokens, .. }) = &read.value.from_primary {
        let message = "`from = \"primary\"` leaves nothing for `max_staleness` to do, as the primary is never behind: keep \
                       one of them";
        errors.at(tokens, message);
    }
    if helpers.critical.is_some() {
        let message = "`max_staleness` has nothing to do on a `#[critical]` read, which goes to the primary: remove it";
        errors.at(&staleness.tokens, message);
    }
}

/// Only what replicas answer can be asked of two of them.
fn hedging(read: &Read, helpers: &Helpers, errors: &mut Errors) {
    let Some(hedge) = &read.hedge else { return };
    if read.from_primary.is_some() {
        let message = "`hedge` asks a second replica, and `from = \"primary\"` wants none: keep one of them";
        errors.at(&hedge.tokens, message);
    }
    if helpers.critical.is_some() {
        let message = "`hedge` asks a second replica, and a `#[critical]` read goes to the primary: remove it";
        errors.at(&hedge.tokens, message);
    }
}

/// A call that costs more than a limit never passes.
fn cost_fits(limited: &RateLimited, errors: &mut Errors) {
    let Some(Given { value: Cost::Calls(cost), tokens }) = &limited.cost else { return };
    let rates = [&limited.per_user, &limited.global].into_iter().flatten().flat_map(|given| &given.value);
    if let Some(rate) = rates.filter(|rate| rate.count < *cost).min_by_key(|rate| rate.count) {
        let message = format!(
            "a call that costs {cost} never fits into {rate}: write `cost = {}` or less, or raise the limit",
            rate.count
        );
        errors.at(tokens, message);
    }
}

fn cache_contradictions(cached: &Cached, errors: &mut Errors) {
    if let (Some(l1), Some(ttl)) = (&cached.l1_ttl, &cached.ttl)
        && l1.value > ttl.value
    {
        errors.at(&l1.tokens, "`l1_ttl` is longer than `ttl`, after which nothing is kept: make it shorter");
    }
    if let (Some(l1), Some(Layers::L2)) = (&cached.l1_ttl, cached.layers.as_ref().map(|layers| layers.value)) {
        errors.at(&l1.tokens, "`l1_ttl` has nothing to do with `layers = \"l2\"`, which skips L1: remove one of them");
    }
    if let (Some(_), Some(stale)) = (&cached.strong, &cached.stale_if_error) {
        let message =
            "`consistency = \"strong\"` never serves a stale value, `stale_if_error` does: remove one of them";
        errors.at(&stale.tokens, message);
    }
}
