//! Without a primary: who becomes it. Pure.

use super::decide::{Memory, Order, Reason, Rules, Step, epoch};
use super::sight::{Seen, Sight, View};

/// The next step towards a new primary; `view` has a majority of the votes and no primary that can be believed.
pub(super) fn elect(view: &View, memory: &Memory, rules: &Rules) -> Step {
    if let Some((node, seen)) = memory.primaries(view).find(|(i, seen)| !seen.is_frozen() && view.nodes[*i].voted) {
        return Step::Fence { order: aside(view, memory, node, seen) };
    }
    if !is_ripe(view, memory, rules) {
        return Step::Wait(Reason::Suspect);
    }
    if let Some((by, ..)) = view.standbys().find(|(_, _, seen)| !seen.is_frozen() && hears_a_primary(view, seen)) {
        return Step::Wait(Reason::StillHeard { by });
    }
    let members: Vec<(usize, &Sight, &Seen)> =
        view.standbys().filter(|(_, node, seen)| node.voted && memory.is_ours(seen)).collect();
    // A stale primary that takes no writes receives nothing either.
    let aside = memory.primaries(view).filter(|(i, seen)| view.nodes[*i].voted && seen.is_frozen()).count();
    // It does not know, though, what was acknowledged since.
    let informed = members.len() + if rules.synchronous.is_some() { 0 } else { aside };
    if members.is_empty() || informed < view.quorum() {
        return Step::Wait(Reason::TooFewReplicas);
    }
    let last = view.last_epoch();
    let taken_back =
        view.answering().filter_map(|(_, _, seen)| seen.mark()).any(|mark| mark.epoch == last && mark.to.is_some());
    let own = memory.attempt.filter(|attempt| attempt.epoch >= last && !taken_back);
    let epoch = own.map_or(last + 1, |attempt| attempt.epoch);
    if let Some(step) = freeze(view, memory, &members, epoch, None) {
        return step;
    }
    if members.iter().any(|(_, _, seen)| seen.streams()) {
        return Step::Wait(Reason::Settling);
    }
    let rank = |seen: &Seen| (seen.timeline, seen.position);
    let Some((best, _, chosen)) = members.iter().rev().max_by_key(|(_, _, seen)| rank(seen)) else {
        return Step::Wait(Reason::TooFewReplicas);
    };
    if let Some((node, ..)) = view.standbys().find(|(_, _, seen)| memory.is_ours(seen) && rank(seen) > rank(chosen)) {
        return Step::Wait(Reason::AnotherIsAhead { node });
    }
    // Whoever was promoted in this attempt may be a primary by now: another one is another attempt.
    if own.is_some_and(|attempt| attempt.promoted.is_some_and(|promoted| promoted != *best)) {
        return freeze(view, memory, &members, last + 1, None).unwrap_or(Step::Wait(Reason::Settling));
    }
    if chosen.read_only {
        return Step::Open { node: *best };
    }
    if rules.synchronous().is_some_and(|wanted| wanted != chosen.synchronous) {
        return Step::Synchronise { nodes: vec![*best] };
    }
    Step::Promote { epoch, node: *best }
}

/// What is written on a stale primary: for whom it was set aside.
pub(super) fn aside(view: &View, memory: &Memory, node: usize, seen: &Seen) -> Order {
    let other =
        memory.primary.filter(|primary| *primary != node).map_or("another", |primary| &*view.nodes[primary].name);
    Order { node, conninfo: seen.conninfo.clone().unwrap_or_default().frozen(epoch(seen), Some(other), None) }
}

/// Whether whoever was the primary, or may be it by now, has been silent for long enough; if nobody knows who, all that are silent.
fn is_ripe(view: &View, memory: &Memory, rules: &Rules) -> bool {
    let named = view.answering().filter_map(|(_, _, seen)| seen.mark()?.from);
    let named = named.filter_map(|name| view.nodes.iter().position(|node| *node.name == name));
    let promoted = memory.attempt.and_then(|attempt| attempt.promoted);
    let suspects: Vec<usize> = memory.primary.into_iter().chain(promoted).chain(named).collect();
    let silent = view.nodes.iter().enumerate().filter(|(_, node)| node.seen.is_none());
    let mut relevant = silent.filter(|(i, _)| suspects.is_empty() || suspects.contains(i));
    relevant.all(|(_, node)| node.misses >= rules.misses)
}

/// Whether it hears a sender that is not merely another standby.
fn hears_a_primary(view: &View, seen: &Seen) -> bool {
    let Some(receiver) = seen.receiver.as_ref().filter(|receiver| receiver.streaming && !receiver.silent) else {
        return false;
    };
    !receiver.from.as_ref().is_some_and(|place| view.is_standby_at(place))
}

/// Freezes those that this attempt has not frozen yet.
pub(super) fn freeze(
    view: &View,
    memory: &Memory,
    members: &[(usize, &Sight, &Seen)],
    epoch: u64,
    to: Option<&str>,
) -> Option<Step> {
    let mut orders = Vec::new();
    for (node, _, seen) in members {
        let mark = seen.mark().unwrap_or_default();
        if mark.frozen && mark.epoch == epoch && mark.to.as_deref() == to {
            continue;
        }
        let Some(conninfo) = &seen.conninfo else {
            return Some(Step::Wait(Reason::Unreadable { node: *node }));
        };
        // Who was the primary when it began is known best by who began it.
        let earlier = mark.from.filter(|_| mark.frozen);
        let from = earlier.or_else(|| memory.primary.map(|primary| view.nodes[primary].name.to_string()));
        orders.push(Order { node: *node, conninfo: conninfo.frozen(epoch, from.as_deref(), to) });
    }
    (!orders.is_empty()).then_some(Step::Freeze { epoch, orders })
}
