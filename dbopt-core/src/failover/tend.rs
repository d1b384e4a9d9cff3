//! Under a primary: what is left to do until all follow it. Pure.

use super::decide::{Memory, Order, Reason, Rules, Step};
use super::elect::{aside, freeze};
use super::sight::{Seen, Sight, View};

/// The next step under the primary `leader`; `view` has a majority of the votes.
pub(super) fn tend(view: &View, memory: &Memory, rules: &Rules, leader: usize) -> Step {
    let Some(head) = &view.nodes[leader].seen else { return Step::Wait(Reason::Suspect) };
    // First what keeps writes from being served, or serves them where they will be lost.
    if head.is_frozen() {
        return Step::Open { node: leader };
    }
    let mut stale =
        memory.primaries(view).filter(|(i, seen)| *i != leader && !seen.is_frozen() && view.nodes[*i].voted);
    if let Some((node, seen)) = stale.next() {
        return Step::Fence { order: aside(view, memory, node, seen) };
    }
    let mut epoch = Some(view.last_epoch());
    match settle(view, memory, leader, head) {
        Settled::Yes => {}
        Settled::Nothing => epoch = None,
        Settled::Not(step) => return step,
    }
    let orders: Vec<Order> =
        view.standbys().filter_map(|(i, node, seen)| order(view, memory, leader, epoch, i, node, seen)).collect();
    if !orders.is_empty() {
        return Step::Follow { leader, orders };
    }
    if let Some(step) = synchronise(view, memory, rules, leader, head) {
        return step;
    }
    if !head.checkpointed && view.nodes[leader].voted {
        return Step::Checkpoint { node: leader };
    }
    match view.nodes.iter().enumerate().find(|(i, node)| needs_agent(view, memory, rules, leader, *i, node)) {
        Some((node, _)) => Step::Rejoin { node, leader },
        None => Step::Watch { leader },
    }
}

enum Settled {
    /// The primary knows the last attempt.
    Yes,
    /// Nothing came of it.
    Nothing,
    /// This is to be done first.
    Not(Step),
}

/// Ends the last attempt. Had the primary no part in it, somebody who cannot be asked may have been promoted: then a majority is told first
/// that it comes too late.
fn settle(view: &View, memory: &Memory, leader: usize, head: &Seen) -> Settled {
    let (mark, last) = (head.mark().unwrap_or_default(), view.last_epoch());
    if mark.epoch == last && !mark.frozen {
        return Settled::Yes;
    }
    let Some(conninfo) = &head.conninfo else { return Settled::Not(Step::Wait(Reason::Unreadable { node: leader })) };
    let settled =
        |epoch| Settled::Not(Step::Settle { order: Order { node: leader, conninfo: conninfo.released(epoch) } });
    if mark.epoch == last {
        return settled(last);
    }
    let members: Vec<(usize, &Sight, &Seen)> = view
        .standbys()
        .filter(|(_, node, seen)| node.voted && memory.is_ours(seen) && seen.conninfo.is_some())
        .collect();
    let marks = || members.iter().map(|(_, _, seen)| seen.mark().unwrap_or_default());
    let name = &*view.nodes[leader].name;
    let ours = usize::from(view.nodes[leader].voted);
    if marks().filter(|mark| mark.epoch < last).count() + ours >= view.quorum() {
        return Settled::Nothing;
    }
    let told = marks().filter(|mark| mark.epoch == last && mark.to.as_deref() == Some(name)).count();
    if told + ours >= view.quorum() {
        return settled(last);
    }
    let epoch = if told > 0 { last } else { last + 1 };
    Settled::Not(freeze(view, memory, &members, epoch, Some(name)).unwrap_or(Step::Wait(Reason::TooFewReplicas)))
}

/// What a standby has to be told, if anything.
fn order(
    view: &View,
    memory: &Memory,
    leader: usize,
    epoch: Option<u64>,
    node: usize,
    sight: &Sight,
    seen: &Seen,
) -> Option<Order> {
    let lead = &view.nodes[leader];
    let head = lead.seen.as_ref()?;
    if !sight.voted || !memory.is_ours(seen) || has_diverged(head, seen) {
        return None;
    }
    let conninfo = seen.conninfo.as_ref()?;
    let mark = seen.mark().unwrap_or_default();
    let before = conninfo.unfrozen();
    let epoch = epoch.unwrap_or_else(|| before.mark().map_or(0, |mark| mark.epoch));
    if seen.is_frozen() {
        // Nobody was promoted: it goes back to where it was, by the way it went.
        let undo =
            mark.from.as_deref() == Some(&*lead.name) && seen.timeline == head.timeline && before.place().is_some();
        let conninfo = if undo { before.released(epoch) } else { before.following(&lead.place, &sight.name, epoch) };
        return Some(Order { node, conninfo });
    }
    let place = conninfo.place();
    let at_leader = place.as_ref() == Some(&lead.place);
    let at_standby = place.as_ref().is_some_and(|place| view.is_standby_at(place) && *place != sight.place);
    let known = view.nodes.iter().any(|other| place.as_ref() == Some(&other.place));
    // From a stale primary it would go on receiving what is not the cluster's any more.
    let patient = if known { seen.streams() } else { false };
    if at_leader || at_standby || !patient && (seen.streams() || sight.idle_for.as_secs() < 2) {
        return None;
    }
    (known || seen.timeline < head.timeline)
        .then(|| Order { node, conninfo: conninfo.following(&lead.place, &sight.name, epoch) })
}

/// Whether it has log that the primary does not have.
fn has_diverged(head: &Seen, seen: &Seen) -> bool {
    seen.timeline > head.timeline
        || seen.timeline < head.timeline && head.forked_at.is_some_and(|fork| seen.position > fork)
}

fn synchronise(view: &View, memory: &Memory, rules: &Rules, leader: usize, head: &Seen) -> Option<Step> {
    let (acknowledge, wanted) = rules.synchronous.as_ref()?;
    let others =
        view.standbys().filter(|(_, node, seen)| node.voted && memory.is_ours(seen) && seen.synchronous != *wanted);
    let mut nodes: Vec<usize> = others.map(|(i, ..)| i).collect();
    if head.synchronous != *wanted {
        let named = |name: &String| view.nodes.iter().any(|node| *node.name == **name);
        if head.followers.iter().filter(|name| named(name)).count() >= *acknowledge {
            nodes.push(leader);
        } else if nodes.is_empty() {
            return Some(Step::Wait(Reason::NotEnoughToSynchronise));
        }
    }
    (!nodes.is_empty()).then_some(Step::Synchronise { nodes })
}

/// Whether only somebody who reaches the node's files can bring it back. A replica that serves reads is taken only while another
/// one receives.
fn needs_agent(view: &View, memory: &Memory, rules: &Rules, leader: usize, i: usize, node: &Sight) -> bool {
    let Some(head) = view.nodes[leader].seen.as_ref().filter(|_| node.agent && i != leader) else { return false };
    let Some(seen) = &node.seen else { return node.lost_for >= rules.rejoin_after };
    if !memory.is_ours(seen) {
        return false;
    }
    if !seen.standby {
        return seen.is_frozen();
    }
    let lost = seen.slot.as_ref().is_some_and(|slot| head.lost_slots.contains(slot));
    let hopeless = has_diverged(head, seen) || lost || node.idle_for >= rules.rejoin_after;
    hopeless && !seen.streams() && view.standbys().any(|(other, _, seen)| other != i && seen.streams())
}
