//! What one node is good for. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::{Authority, Heard, Leadership, Memory, Progress, Rules, Word};
use crate::backend::{NodeReport, Role};
use crate::cluster::lag::Lag;
use crate::cluster::reach::Reached;
use crate::cluster::state::{NodeState, NodeView, Receiver};
use crate::cluster::trust::{Loss, Trust};
use crate::position::Position;

/// A state and the reason for it.
type Judgement = (NodeState, Option<String>);

/// After so many losses lately a node's comings and goings are not worth a line each.
const FLAPS: usize = 4;

impl Memory {
    /// The node as the snapshot shows it; what its history adds is remembered.
    pub(super) fn view(&mut self, i: usize, leadership: &Leadership, now: Instant, rules: &Rules) -> NodeView {
        let mut view = self.blank(i);
        if self.nodes[i].vacant {
            view.state = NodeState::Vacant;
            return view;
        }
        view.host = self.nodes[i].host.at(now, rules.reading_holds);
        view.details.host_absent = self.nodes[i].host.absent().map(str::to_owned);
        let word = self.nodes[i].word.clone();
        match &word {
            Word::None => return view,
            Word::Report(_) if self.system_identifier.is_none() => return view,
            Word::Silent(cause) => {
                (view.state, view.cause) = (NodeState::Unreachable, Some(cause.clone()));
                self.nodes[i].reputation.lost(now, Loss::Silence, rules.patience);
            }
            Word::Report(heard) => self.judge(i, heard, leadership, &mut view, now, rules),
        }
        view.details.reached = self.reached(i, leadership, view.state);
        let node = &mut self.nodes[i];
        node.serves_since = if view.state.serves() { node.serves_since.or(Some(now)) } else { None };
        view.healthy_since = node.serves_since;
        view.details.feeder = node.feeder.clone().filter(|_| view.role != Some(Role::Primary));
        (view.details.losses, view.details.flaps) = (node.reputation.total(), node.reputation.lately() >= FLAPS);
        if view.details.flaps {
            view.details.notes.push(format!("it was lost {} times lately", node.reputation.lately()));
        }
        view
    }

    /// Whether every write has reached a replica. One that is silent has what it had last, one that has gone a way of its own what it had before.
    fn reached(&mut self, i: usize, leadership: &Leadership, state: NodeState) -> Reached {
        let report = self.nodes[i].report();
        let is_replica = match report {
            Some(report) => report.role == Role::Replica && self.is_kin(i) && leadership.twins[i].is_none(),
            None => self.nodes[i].followed.is_some(),
        };
        if !is_replica || leadership.primary == Some(i) {
            self.nodes[i].progress = Progress::default();
            return Reached::Unknown;
        }
        let replayed = report.map(|report| {
            let since = report.timeline.unwrap_or(self.highest_timeline).saturating_add(1);
            let left = self.forks.range(since..).map(|(_, fork)| *fork).min();
            left.filter(|_| state == NodeState::Diverged).map_or(report.lsn, |left| left.min(report.lsn))
        });
        self.nodes[i].progress.note(replayed, &self.ring)
    }

    fn judge(
        &mut self,
        i: usize,
        heard: &Heard,
        leadership: &Leadership,
        view: &mut NodeView,
        now: Instant,
        rules: &Rules,
    ) {
        let (report, leads) = (&heard.report, leadership.primary == Some(i));
        view.role = Some(report.role);
        view.details.paused = report.paused;
        view.position = report.timeline.map(|timeline| Position { timeline, lsn: report.lsn });
        if report.role == Role::Replica {
            view.details.receiver = Some(receiver(report));
            if view.details.receiver == Some(Receiver::Hidden) {
                let note = "the role may not see what the receiver does, so that it is cut off is known by its lag alone: GRANT \
                            pg_monitor";
                view.details.notes.push(note.into());
            }
        }
        let newest = self.ring.fresh(now, rules.fresh);
        let orphaned = receiver(report) == Receiver::Stopped && self.is_orphaned(report, leadership, rules);
        let mut unfit = self.unfit(i, heard, leadership, orphaned);
        if leads {
            view.lag = Lag::Known(Duration::ZERO);
        } else if self.is_kin(i) && !matches!(unfit, Some((NodeState::Diverged | NodeState::Fenced, _))) {
            view.details.lag_bytes = self.ring.bytes(now, report.lsn, rules.fresh);
            // As of its own answer: what the primary wrote since, it may well have by now.
            view.lag = newest.map_or(Lag::Unknown, |_| self.ring.lag(heard.at, report.lsn, rules.fresh));
        }
        // Of a primary that is gone nothing new is missing.
        let lag = if orphaned { self.ring.last_lag(report.lsn) } else { view.lag };
        let node = &mut self.nodes[i];
        if lag.exceeds(rules.max_lag) {
            node.lags = true;
        } else if lag.is_within(rules.max_lag / 2) {
            node.lags = false;
        }
        match &unfit {
            Some((NodeState::Diverged | NodeState::Foreign, _)) => {
                node.reputation.lost(now, Loss::Silence, rules.patience);
            }
            Some(_) => node.reputation.lost(now, Loss::Idle, rules.patience),
            None if leads => node.reputation.needed(),
            // With a primary that is gone nobody can catch up.
            None => {
                let goal = newest.filter(|_| !orphaned);
                unfit = returning(node.reputation.usable(now, report.lsn, goal, rules.patience));
            }
        }
        let strain = node.host.strain(view.host, rules.limits);
        (view.state, view.cause) = unfit
            .or_else(|| (!leads && node.lags).then(|| lagging(view.lag, rules)))
            .or_else(|| report.paused.then(|| degraded("replaying was paused there (pg_wal_replay_resume() ends it)")))
            .or_else(|| {
                orphaned.then(|| degraded("it follows nobody: there is no primary, and it has what the last one had"))
            })
            .or_else(|| strain.map(|strain| degraded(&strain)))
            .unwrap_or((NodeState::Healthy, None));
    }

    /// Why a node that answers cannot be used, whatever its past.
    fn unfit(&self, i: usize, heard: &Heard, leadership: &Leadership, orphaned: bool) -> Option<Judgement> {
        let report = &heard.report;
        let because = |state, cause: String| Some((state, Some(cause)));
        if !self.is_kin(i) {
            let cause = "it belongs to another cluster (its system identifier differs): remove its URL";
            return because(NodeState::Foreign, cause.into());
        }
        if let Some(twin) = leadership.twins[i] {
            let cause = format!("it is the same server as `{}`: remove one of the two URLs", self.nodes[twin].name);
            return because(NodeState::Duplicate, cause);
        }
        match report.role {
            Role::Primary if leadership.primary == Some(i) => None,
            Role::Primary => because(NodeState::Fenced, fenced(i, report, leadership)),
            Role::Replica if orphaned => None,
            Role::Replica => self.astray(i, heard, leadership).or_else(|| self.cut_off(i, report)),
        }
    }

    /// Why a replica does not follow the primary's history.
    fn astray(&self, i: usize, heard: &Heard, leadership: &Leadership) -> Option<Judgement> {
        let primary = self.nodes[leadership.primary?].heard()?;
        let (own, its) = (heard.report.timeline?, primary.report.timeline?);
        let lsn = heard.report.lsn;
        let diverged = |cause: String| {
            let text = format!("{cause}; it never gets well by itself: rewind it (pg_rewind) or copy it anew");
            Some((NodeState::Diverged, Some(text)))
        };
        if own > its {
            return diverged(format!("it is on timeline {own}, and the primary on {its}"));
        }
        if own < its {
            let forks = self.forks.range(own + 1..=its).map(|(_, fork)| *fork).min();
            if let Some(fork) = forks.filter(|fork| lsn > *fork) {
                return diverged(format!("it went on to {lsn} on timeline {own}, which the primary left at {fork}"));
            }
            let note = match heard.report.streaming {
                None => {
                    "; the role may not see which one it receives: GRANT pg_monitor, or wait for its next checkpoint"
                }
                Some(_) => "",
            };
            let from = self.feeder_in_words(i);
            let text = format!("it still follows timeline {own}{from}, and the primary is on {its}{note}");
            return Some((NodeState::Disconnected, Some(text)));
        }
        // It answered before the primary was asked, so it cannot have log that the primary wrote since.
        if heard.at <= primary.asked && lsn > primary.report.lsn {
            return diverged(format!("it has log up to {lsn}, and the primary only up to {}", primary.report.lsn));
        }
        None
    }

    /// Whether a replica that receives nothing shows the cluster as it was when its primary was lost, because nobody has written since.
    ///
    /// Not if there is a sign that somebody does: a later timeline, a primary that is not believed, or a replica that still receives from
    /// whoever is no standby. Then others have news, and this one has not.
    fn is_orphaned(&self, report: &NodeReport, leadership: &Leadership, rules: &Rules) -> bool {
        let last = Some(self.highest_timeline).filter(|timeline| *timeline > 0);
        let is_of_the_last = report.timeline.is_some() && report.timeline == last && Some(leadership.highest) == last;
        if leadership.primary.is_some() || !is_of_the_last || !self.ring.last_lag(report.lsn).is_within(rules.max_lag) {
            return false;
        }
        let standby = |node: usize| self.nodes[node].report().is_some_and(|report| report.role == Role::Replica);
        let is_fed = |i: usize| {
            let feeder = self.nodes[i].feeder.as_ref().and_then(|feeder| feeder.node);
            self.streams(i) && !feeder.is_some_and(standby)
        };
        let writes = |i: usize| self.may_lead(i) && self.nodes[i].report().and_then(|report| report.timeline) >= last;
        !(0..self.nodes.len()).any(|i| self.is_kin(i) && (is_fed(i) || writes(i)))
    }

    fn cut_off(&self, i: usize, report: &NodeReport) -> Option<Judgement> {
        let text = || format!("its receiver is not streaming{}", self.feeder_in_words(i));
        (receiver(report) == Receiver::Stopped).then(|| (NodeState::Disconnected, Some(text())))
    }

    fn feeder_in_words(&self, i: usize) -> String {
        let Some(feeder) = &self.nodes[i].feeder else { return String::new() };
        match feeder.node.map(|node| &self.nodes[node]) {
            None => format!(" from {}", feeder.address),
            Some(node) if matches!(node.word, Word::Silent(_)) => {
                format!(" from `{}`, which does not answer", node.name)
            }
            Some(node) => format!(" from `{}`", node.name),
        }
    }
}

fn receiver(report: &NodeReport) -> Receiver {
    match report.streaming {
        Some(true) => Receiver::Streaming,
        Some(false) => Receiver::Stopped,
        None => Receiver::Hidden,
    }
}

fn fenced(i: usize, report: &NodeReport, leadership: &Leadership) -> String {
    let timeline = report.timeline.unwrap_or(0);
    let (named, disowned) = match &leadership.authority {
        Authority::Only(nodes, _) if nodes.contains(&i) => (true, None),
        Authority::Only(_, words) => (false, Some(words)),
        Authority::Sql => (false, None),
    };
    if report.read_only && named {
        "Patroni's leader, closed to writes (default_transaction_read_only): if no switchover is under way, open it with `dbopt switchover \
         --open`"
            .into()
    } else if report.read_only {
        "a primary that is closed to writes (default_transaction_read_only)".into()
    } else if timeline < leadership.highest {
        format!("a stale primary: it is on timeline {timeline}, and there is timeline {}", leadership.highest)
    } else if let Some(words) = disowned {
        format!(
            "a primary that Patroni does not stand for: {words}; is its own Patroni gone? Start it, or stop the server"
        )
    } else if leadership.undecided {
        format!("one of several primaries on timeline {timeline}, and nothing tells which is right: stop the others")
    } else {
        format!("a second primary on timeline {timeline}: stop it, or make it a replica")
    }
}

fn returning(trust: Trust) -> Option<Judgement> {
    let cause = match trust {
        Trust::Full => return None,
        Trust::HeldDown(wait, losses) => format!(
            "it answers again, and is trusted in {} s ({losses} {} lately)",
            wait.as_secs_f64().ceil(),
            if losses == 1 { "loss" } else { "losses" }
        ),
        Trust::CatchesUp => "it answers again, and has not caught up yet".into(),
    };
    Some((NodeState::Returning, Some(cause)))
}

fn lagging(lag: Lag, rules: &Rules) -> Judgement {
    let limit = humantime::format_duration(rules.max_lag);
    let behind = lag.seconds().map_or_else(|| "too far".into(), |seconds| format!("{seconds:.1} s"));
    (NodeState::Lagging, Some(format!("it is {behind} behind; reads may be {limit} (routing.max_lag)")))
}

fn degraded(cause: &str) -> Judgement {
    (NodeState::Degraded, Some(cause.to_owned()))
}
