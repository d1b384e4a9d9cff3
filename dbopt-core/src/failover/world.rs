//! A cluster in memory, with coordinators that are cut off, paused and replaced at any moment; and what must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::decide::{Memory, Order, Rules, Step, decide};
use super::sight::{Receiver, Seen, Sight, View};
use super::{Config, Conninfo, Place};
use crate::position::Lsn;

#[derive(Debug, Clone, Default)]
struct Server {
    up: bool,
    /// It runs and says nothing.
    stopped: bool,
    standby: bool,
    timeline: u32,
    /// The writes it has, by their numbers.
    log: Vec<u32>,
    fork: Option<usize>,
    conninfo: Conninfo,
    read_only: bool,
    synchronous: bool,
    vote: Option<usize>,
}

impl Server {
    fn answers(&self) -> bool {
        self.up && !self.stopped
    }
}

#[derive(Debug, Default)]
struct Coordinator {
    memory: Memory,
    misses: Vec<u32>,
    cut: BTreeSet<usize>,
    pending: Option<Step>,
}

struct World {
    servers: Vec<Server>,
    coordinators: Vec<Coordinator>,
    rules: Rules,
    synchronous: bool,
    acknowledged: Vec<u32>,
    written: u32,
    promotions: BTreeMap<u64, usize>,
    now: Instant,
}

#[derive(Debug, Clone)]
enum Event {
    Write,
    Replicate(usize),
    Kill(usize),
    Stop(usize),
    Return(usize),
    Cut(usize, usize),
    Heal(usize),
    /// A coordinator says nothing for longer than its lease, and goes on where it was.
    Pause(usize),
    /// A coordinator is killed; another one takes its place.
    Replace(usize),
    Look(usize),
    /// It does what it decided, on so many of the nodes that it meant.
    Act(usize, usize),
    Turn(usize),
}

fn name(node: usize) -> String {
    format!("n{node}")
}

impl World {
    fn new(nodes: usize, synchronous: bool) -> World {
        let server = |i: usize| Server {
            up: true,
            standby: i != 0,
            timeline: 1,
            conninfo: if i == 0 { Conninfo::default() } else { Conninfo::parse("host=n0 port=1").unwrap() },
            synchronous,
            ..Server::default()
        };
        let names: Vec<Arc<str>> = (0..nodes).map(|i| name(i).into()).collect();
        let config = Config { synchronous, misses: 2, ..Config::default() };
        World {
            servers: (0..nodes).map(server).collect(),
            coordinators: (0..2).map(|_| Coordinator { misses: vec![0; nodes], ..Coordinator::default() }).collect(),
            rules: Rules::new(&config, &names),
            synchronous,
            acknowledged: Vec::new(),
            written: 0,
            promotions: BTreeMap::new(),
            now: Instant::now(),
        }
    }

    /// Whom a standby has a connection to, dead or alive at the other end.
    fn source(&self, node: usize) -> Option<usize> {
        let server = &self.servers[node];
        let place = server.conninfo.place().filter(|_| server.standby && server.up)?;
        let source = (0..self.servers.len()).find(|i| name(*i) == place.host)?;
        let other = &self.servers[source];
        let fits = |log: &[u32]| other.log.len() >= log.len() && other.log[..log.len()] == *log;
        let forked = other.fork.is_none_or(|fork| server.log.len() <= fork || server.timeline == other.timeline);
        (other.up && !other.standby && other.timeline >= server.timeline && forked && fits(&server.log))
            .then_some(source)
    }

    fn replicate(&mut self, node: usize) {
        if let Some(source) = self.source(node).filter(|s| self.servers[*s].answers() && self.servers[node].answers()) {
            let (log, timeline) = (self.servers[source].log.clone(), self.servers[source].timeline);
            (self.servers[node].log, self.servers[node].timeline) = (log, timeline);
        }
    }

    /// A client writes to every primary that takes it.
    fn write(&mut self) {
        for primary in 0..self.servers.len() {
            let server = &mut self.servers[primary];
            if !server.answers() || server.standby || server.read_only {
                continue;
            }
            self.written += 1;
            server.log.push(self.written);
            let needed = if server.synchronous { self.rules.synchronous.as_ref().map_or(1, |s| s.0) } else { 0 };
            let followers: Vec<usize> = (0..self.servers.len())
                .filter(|i| self.source(*i) == Some(primary) && self.servers[*i].answers())
                .collect();
            if followers.len() >= needed {
                // The least that an acknowledgement takes.
                followers.iter().take(needed).for_each(|node| self.replicate(*node));
                self.acknowledged.push(self.written);
            }
        }
    }

    fn look(&mut self, who: usize) {
        self.now += Duration::from_secs(1);
        let mut view = View::default();
        for i in 0..self.servers.len() {
            let reachable = self.servers[i].answers() && !self.coordinators[who].cut.contains(&i);
            if !reachable && self.servers[i].vote == Some(who) {
                self.servers[i].vote = None;
            }
            if reachable {
                self.servers[i].vote.get_or_insert(who);
            }
            let misses = &mut self.coordinators[who].misses[i];
            *misses = if reachable { 0 } else { *misses + 1 };
            let seconds = Duration::from_secs((*misses).into());
            view.nodes.push(Sight {
                name: name(i).into(),
                place: Place { host: name(i), port: 1 },
                misses: *misses,
                lost_for: seconds,
                idle_for: Duration::from_secs(5),
                voted: reachable && self.servers[i].vote == Some(who),
                agent: false,
                seen: reachable.then(|| self.seen(who, i)),
            });
        }
        let (quorum, votes) = (view.quorum(), view.votes());
        let coordinator = &mut self.coordinators[who];
        coordinator.memory.note(&view);
        coordinator.pending = Some(decide(&view, &coordinator.memory, &self.rules, self.now));
        if votes < quorum {
            self.servers.iter_mut().filter(|server| server.vote == Some(who)).for_each(|server| server.vote = None);
        }
    }

    fn seen(&self, who: usize, i: usize) -> Seen {
        let server = &self.servers[i];
        let position = |log: usize| Lsn(log as u64);
        Seen {
            standby: server.standby,
            system_identifier: 1,
            timeline: server.timeline,
            position: position(server.log.len()),
            forked_at: server.fork.map(position),
            receiver: self.source(i).map(|source| Receiver {
                streaming: true,
                silent: self.servers[source].stopped,
                from: Some(Place { host: name(source), port: 1 }),
            }),
            read_only: server.read_only,
            synchronous: if server.synchronous { self.rules.synchronous().unwrap().into() } else { String::new() },
            conninfo: Some(server.conninfo.clone()),
            slot: None,
            checkpointed: true,
            followers: (0..self.servers.len()).filter(|f| self.source(*f) == Some(i)).map(name).collect(),
            lost_slots: Vec::new(),
            taken: server.vote.is_some_and(|vote| vote != who),
        }
    }

    /// Whether the session of the coordinator on this node still lives.
    fn holds(&self, who: usize, node: usize) -> bool {
        let server = &self.servers[node];
        server.answers() && server.vote == Some(who) && !self.coordinators[who].cut.contains(&node)
    }

    fn act(&mut self, who: usize, most: usize) {
        let Some(step) = self.coordinators[who].pending.take() else { return };
        self.coordinators[who].memory.took(&step, self.now);
        let order = |world: &mut World, orders: &[Order]| {
            for order in orders.iter().take(most) {
                if world.holds(who, order.node) {
                    world.servers[order.node].conninfo = order.conninfo.clone();
                }
            }
        };
        match step {
            Step::Freeze { orders, .. } | Step::Release { orders } | Step::Follow { orders, .. } => {
                order(self, &orders)
            }
            Step::Settle { order: one } => order(self, &[one]),
            Step::Promote { epoch, node } => self.promote(who, epoch, node),
            Step::Open { node } if self.holds(who, node) => {
                self.servers[node].read_only = false;
                if !self.servers[node].standby {
                    self.servers[node].conninfo = self.servers[node].conninfo.unfrozen();
                }
            }
            Step::Fence { order: one } if self.holds(who, one.node) => {
                self.servers[one.node].read_only = true;
                if most > 0 {
                    order(self, &[one]);
                }
            }
            Step::Synchronise { nodes } => {
                for node in nodes.into_iter().take(most) {
                    self.servers[node].synchronous |= self.holds(who, node);
                }
            }
            _ => {}
        }
    }

    fn promote(&mut self, who: usize, epoch: u64, node: usize) {
        let held: Vec<usize> = (0..self.servers.len()).filter(|i| self.holds(who, *i)).collect();
        if held.len() <= self.servers.len() / 2 || !held.contains(&node) || !self.servers[node].standby {
            return;
        }
        let server = &self.servers[node];
        assert_eq!(*self.promotions.entry(epoch).or_insert(node), node, "two promotions in attempt {epoch}");
        for other in held {
            assert_eq!(self.source(other), None, "n{other} still receives");
            let (theirs, ours) = (&self.servers[other], server);
            let ahead = theirs.standby && (theirs.timeline, theirs.log.len()) > (ours.timeline, ours.log.len());
            assert!(!ahead, "n{other} is ahead of n{node}");
        }
        if self.synchronous {
            let lost: Vec<_> = self.acknowledged.iter().filter(|write| !server.log.contains(write)).collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        }
        let server = &mut self.servers[node];
        server.standby = false;
        server.timeline += 1;
        server.fork = Some(server.log.len());
    }

    fn apply(&mut self, event: Event) {
        let (nodes, coordinators) = (self.servers.len(), self.coordinators.len());
        match event {
            Event::Write => self.write(),
            Event::Replicate(node) => self.replicate(node % nodes),
            Event::Kill(node) => {
                let server = &mut self.servers[node % nodes];
                (server.up, server.stopped, server.vote) = (false, false, None);
            }
            Event::Stop(node) => self.servers[node % nodes].stopped = true,
            Event::Return(node) => {
                let server = &mut self.servers[node % nodes];
                (server.up, server.stopped) = (true, false);
            }
            Event::Cut(who, node) => {
                self.coordinators[who % coordinators].cut.insert(node % nodes);
            }
            Event::Heal(who) => self.coordinators[who % coordinators].cut.clear(),
            Event::Pause(who) => {
                let who = who % coordinators;
                self.servers.iter_mut().filter(|s| s.vote == Some(who)).for_each(|s| s.vote = None);
            }
            Event::Replace(who) => {
                let who = who % coordinators;
                self.apply(Event::Pause(who));
                self.coordinators[who] = Coordinator { misses: vec![0; nodes], ..Coordinator::default() };
            }
            Event::Look(who) => self.look(who % coordinators),
            Event::Act(who, most) => self.act(who % coordinators, most),
            Event::Turn(who) => {
                for _ in 0..4 {
                    self.look(who % coordinators);
                    self.act(who % coordinators, usize::MAX);
                }
            }
        }
    }

    /// Everything comes back, one coordinator is left: all that can follow one primary do, and nothing is frozen.
    fn settle(&mut self) {
        for node in 0..self.servers.len() {
            self.apply(Event::Return(node));
        }
        self.apply(Event::Pause(1));
        self.apply(Event::Heal(0));
        for _ in 0..40 {
            self.look(0);
            self.act(0, usize::MAX);
        }
        self.look(0);
        let step = self.coordinators[0].pending.clone().unwrap();
        let Step::Watch { leader } = step else { panic!("it ends with {step:?}: {:#?}", self.servers) };
        for (i, server) in self.servers.iter().enumerate().filter(|(i, _)| *i != leader) {
            let fenced = !server.standby && server.read_only;
            let head = &self.servers[leader];
            let beyond = head.fork.is_some_and(|fork| server.timeline < head.timeline && server.log.len() > fork);
            let diverged = beyond || !head.log.starts_with(&server.log);
            assert!(fenced || self.source(i) == Some(leader) || diverged, "n{i} is left over: {:#?}", self.servers);
        }
        if self.synchronous {
            let log = &self.servers[leader].log;
            assert!(self.acknowledged.iter().all(|write| log.contains(write)), "acknowledged by whom nobody follows");
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let (node, who) = (0usize..5, 0usize..2);
    prop_oneof![
        4 => Just(Event::Write),
        4 => node.clone().prop_map(Event::Replicate),
        2 => prop_oneof![4 => Just(0usize), 1 => node.clone()].prop_map(Event::Kill),
        2 => prop_oneof![4 => Just(0usize), 1 => node.clone()].prop_map(Event::Stop),
        3 => node.clone().prop_map(Event::Return),
        1 => (who.clone(), node).prop_map(|(who, node)| Event::Cut(who, node)),
        1 => who.clone().prop_map(Event::Heal),
        1 => who.clone().prop_map(Event::Pause),
        1 => who.clone().prop_map(Event::Replace),
        5 => who.clone().prop_map(Event::Look),
        5 => (who.clone(), prop_oneof![Just(usize::MAX), 0usize..3]).prop_map(|(who, most)| Event::Act(who, most)),
        6 => who.prop_map(Event::Turn),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_one_primary_and_no_attempt_promotes_twice(
        nodes in 3usize..6,
        synchronous in any::<bool>(),
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut world = World::new(nodes, synchronous);
        for event in events {
            world.apply(event);
        }
        world.settle();
    }
}

fn turns(world: &mut World, who: usize, n: usize) {
    (0..n).for_each(|_| world.apply(Event::Turn(who)));
}

fn primaries(world: &World) -> Vec<usize> {
    (0..world.servers.len()).filter(|i| world.servers[*i].answers() && !world.servers[*i].standby).collect()
}

#[test]
fn a_dead_or_frozen_primary_is_replaced_by_who_has_most() {
    for event in [Event::Kill(0), Event::Stop(0)] {
        let mut world = World::new(4, false);
        turns(&mut world, 0, 1);
        world.apply(Event::Write);
        world.apply(Event::Replicate(2));
        world.apply(event);
        turns(&mut world, 0, 4);
        assert_eq!(primaries(&world), [2]);
        world.settle();
        assert!(world.servers[0].read_only);
    }
}

#[test]
fn a_coordinator_cut_off_from_the_primary_alone_promotes_nobody() {
    let mut world = World::new(4, false);
    turns(&mut world, 0, 1);
    world.apply(Event::Cut(0, 0));
    turns(&mut world, 0, 5);
    assert!(world.promotions.is_empty());
    assert!((1..4).all(|node| world.source(node) == Some(0)), "nothing was frozen");
}

#[test]
fn what_a_dead_coordinator_froze_is_thawed_for_the_primary_that_lives() {
    let mut world = World::new(4, false);
    turns(&mut world, 0, 1);
    world.apply(Event::Stop(0));
    (0..3).for_each(|_| world.look(0));
    world.act(0, 2);
    assert!(world.servers[1].conninfo.mark().unwrap().frozen);
    world.apply(Event::Replace(0));
    world.apply(Event::Return(0));
    world.settle();
    assert!(world.promotions.is_empty());
    assert!((1..4).all(|node| world.source(node) == Some(0)));
}

#[test]
fn without_a_majority_nothing_is_touched() {
    let mut world = World::new(4, false);
    turns(&mut world, 0, 1);
    world.apply(Event::Kill(0));
    world.apply(Event::Kill(1));
    turns(&mut world, 0, 5);
    assert!(world.promotions.is_empty());
    assert!((1..4).all(|node| world.servers[node].conninfo.mark().is_none()));
}
