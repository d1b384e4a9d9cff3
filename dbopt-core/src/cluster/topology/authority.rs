//! Who may lead, where Patroni has a say in it. Pure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Memory;
use crate::cluster::patroni::{Lead, Member};

/// Who may lead.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Authority {
    /// Whoever SQL shows to be the primary.
    Sql,
    /// Of the primaries these alone; and why the others may not, in words.
    Only(Vec<usize>, String),
}

impl Authority {
    pub(super) fn allows(&self, node: usize) -> bool {
        match self {
            Authority::Sql => true,
            Authority::Only(nodes, _) => nodes.contains(&node),
        }
    }
}

/// A leader that Patroni names on a lower timeline than was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Regression {
    /// Which one, and since when it has been so.
    pending: Option<(usize, u32, Instant)>,
    /// The one that is believed all the same.
    accepted: Option<(Arc<str>, u32)>,
}

impl Regression {
    pub(super) fn accepts(&self, name: &Arc<str>, timeline: u32) -> bool {
        self.accepted.as_ref().is_some_and(|(accepted, its)| accepted == name && *its == timeline)
    }

    /// Notes who leads by Patroni's word and by SQL, on which timeline, while `highest` is the highest that was seen; true when
    /// it has been so for longer than the lock holds, which is when it is believed.
    fn note(&mut self, now: Instant, leader: Option<(usize, &Arc<str>, u32)>, highest: u32, ttl: Duration) -> bool {
        let Some((node, name, timeline)) = leader.filter(|(_, _, timeline)| *timeline < highest) else {
            self.pending = None;
            // Where it has gone on from there it is nothing special any more.
            if leader.is_some_and(|(_, name, timeline)| !self.accepts(name, timeline)) {
                self.accepted = None;
            }
            return false;
        };
        if self.accepts(name, timeline) {
            return false;
        }
        let since = match self.pending {
            Some((known, its, since)) if known == node && its == timeline => since,
            _ => now,
        };
        self.pending = Some((node, timeline, since));
        let overdue = now.saturating_duration_since(since) > ttl;
        if overdue {
            (self.pending, self.accepted) = (None, Some((name.clone(), timeline)));
        }
        overdue
    }
}

impl Memory {
    /// What follows from Patroni's word, and what somebody should know about it.
    pub(super) fn authority(&self) -> (Authority, Option<String>) {
        match &self.said.lead {
            Lead::Unsaid => (Authority::Sql, None),
            Lead::Named { leader, others } => self.named(leader, others),
            Lead::Standing(members) => self.standing(members),
        }
    }

    fn named(&self, leader: &Member, others: &[Member]) -> (Authority, Option<String>) {
        let words = format!("Patroni's leader is {leader}");
        if let Some(node) = self.node_of(leader) {
            return (Authority::Only(vec![node], words), None);
        }
        let known = others.iter().any(|member| self.node_of(member).is_some());
        if known {
            let text = format!(
                "Patroni's leader {leader} is none of the servers in [database]: add its URL, nothing takes writes without it"
            );
            return (Authority::Only(Vec::new(), words), Some(text));
        }
        let text = format!(
            "none of Patroni's members ({leader} and {} more) is one of the servers in [database], so the servers alone decide who leads: use \
             the members' hosts in the URLs, or their names in [[database.nodes]]",
            others.len()
        );
        (Authority::Sql, Some(text))
    }

    fn standing(&self, members: &[Member]) -> (Authority, Option<String>) {
        let nodes: Vec<usize> = members.iter().filter_map(|member| self.node_of(member)).collect();
        match members {
            [] => (Authority::Only(nodes, "no member of Patroni goes on as the leader".into()), None),
            [first, ..] if nodes.is_empty() => {
                let text = format!(
                    "{first} goes on as Patroni's leader and is none of the servers in [database], so these alone decide: use the members' hosts in \
                     the URLs, or their names in [[database.nodes]]"
                );
                (Authority::Sql, Some(text))
            }
            [first, ..] => (Authority::Only(nodes, format!("Patroni's leader is {first}")), None),
        }
    }

    /// The node that a member is: the one that was started at the same moment, or is in the same place, or has its name.
    fn node_of(&self, member: &Member) -> Option<usize> {
        let started = |i: usize| self.nodes[i].report().map(|report| report.server.started);
        let listens = |i: usize| self.nodes[i].report().map(|report| report.server.port);
        let all = 0..self.nodes.len();
        let same_start = member.started.and_then(|at| all.clone().find(|i| started(*i) == Some(at)));
        let same_place = || member.place.as_ref().and_then(|place| self.places.find(place, listens));
        let same_name = || all.clone().find(|i| self.nodes[*i].name == member.name);
        let found = same_start.or_else(same_place).or_else(same_name)?;
        // Of several URLs of one server the one that stands for it is meant.
        Some(self.twins()[found].unwrap_or(found))
    }

    /// The nodes that Patroni allows to lead.
    pub(in crate::cluster) fn allowed_to_lead(&self) -> Vec<usize> {
        let (authority, _) = self.authority();
        (0..self.nodes.len()).filter(|i| authority.allows(*i)).collect()
    }

    /// Believes a leader on a lower timeline, once Patroni has stood by it for long enough; says so as long as it is news.
    pub(super) fn note_regression(&mut self, now: Instant) {
        let (authority, _) = self.authority();
        let Authority::Only(nodes, _) = authority else {
            self.regression.pending = None;
            return;
        };
        let leads = |i: &usize| self.is_kin(*i) && self.may_lead(*i);
        let timeline = |i: usize| self.nodes[i].report().and_then(|report| report.timeline);
        let leader = nodes.into_iter().find(leads).and_then(|i| Some((i, self.nodes[i].name.clone(), timeline(i)?)));
        let highest = self.highest_seen();
        let named = leader.as_ref().map(|(i, name, timeline)| (*i, name, *timeline));
        let ttl = self.said.ttl;
        if !self.regression.note(now, named, highest, ttl) {
            return;
        }
        let Some((_, _, timeline)) = leader else { return };
        self.highest_timeline = timeline;
        self.abandoned = self.abandoned.max(highest);
        Arc::make_mut(&mut self.forks).retain(|fork, _| *fork <= timeline);
        self.past.goes_back(highest);
    }

    /// The highest timeline that a primary is or was seen on, or that a replica streams.
    pub(super) fn highest_seen(&self) -> u32 {
        let counts = |i: &usize| self.is_kin(*i) && (self.may_lead(*i) || self.streams(*i));
        let timeline = |i: usize| self.nodes[i].report().and_then(|report| report.timeline).unwrap_or(0);
        (0..self.nodes.len()).filter(counts).map(timeline).max().unwrap_or(0).max(self.highest_timeline)
    }

    /// What somebody should know about Patroni, in words.
    pub(super) fn warnings(&self) -> Vec<String> {
        let (_, note) = self.authority();
        let pending = self.regression.pending.as_ref().map(|(node, timeline, _)| {
            format!(
                "Patroni's leader `{}` is on timeline {timeline}, and {} was seen: writes wait for another leader, or until it has been so for {:?}",
                self.nodes[*node].name,
                self.highest_seen(),
                self.said.ttl
            )
        });
        let accepted = self.regression.accepted.as_ref().map(|(name, timeline)| {
            format!(
                "timeline regression: Patroni's leader `{name}` went back to timeline {timeline}, after {} was seen: what was written there is lost",
                self.abandoned
            )
        });
        self.said.notes.iter().cloned().chain(note).chain(pending).chain(accepted).collect()
    }
}
