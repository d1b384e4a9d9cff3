//! What is done about statements from time to time: the planner is asked, slow ones are told of.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{EventKind, Runtime};
use crate::backend::{Backend, Connection, Endpoint, Purpose, Site};
use crate::query::{Insight, Plan, Question};

const TICK: Duration = Duration::from_secs(1);

/// How long connecting and asking may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(30);

/// So many plans may be asked for at once, if none were for a while.
const BURST: u32 = 10;

/// Looks after what is kept of statements.
pub(super) async fn look_after<B: Backend>(runtime: Weak<Runtime<B>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(runtime) = runtime.upgrade() else { return };
        runtime.insight.tend();
        for finding in runtime.insight.take_news() {
            let text = finding.to_string();
            let first_line = text.lines().next().unwrap_or_default().to_owned();
            runtime.events.note(EventKind::Query, finding.method().into(), first_line);
        }
    }
}

/// Asks servers how they run statements, one at a time, on a connection of its own; and tells of slow statements, once their plan is known.
pub(super) struct Planner<B: Backend> {
    runtime: Weak<Runtime<B>>,
    backend: Arc<B>,
    sites: Vec<Site>,
    connection: Option<(Arc<Endpoint>, B::Connection)>,
    /// When the next question may be asked; earlier by what was not asked.
    turn: Instant,
}

impl<B: Backend> Planner<B> {
    pub(super) fn new(runtime: Weak<Runtime<B>>, backend: Arc<B>, sites: Vec<Site>) -> Self {
        Planner { runtime, backend, sites, connection: None, turn: Instant::now() }
    }

    /// Asks and tells, for as long as the runtime lives.
    pub(super) async fn run(mut self) {
        let Some(insight) = self.runtime.upgrade().map(|runtime| runtime.insight.clone()) else { return };
        loop {
            let idle_at = Instant::now() + IDLE;
            tokio::select! {
                () = insight.slow_ones() => {}
                () = insight.questions() => {}
                () = sleep_until(idle_at) => self.connection = None,
            }
            loop {
                self.tell_slow(&insight).await;
                let Some(question) = insight.next_question() else { break };
                while !self.is_my_turn(&insight) {
                    // Slow ones do not wait for the others' turns.
                    tokio::select! {
                        () = insight.slow_ones() => self.tell_slow(&insight).await,
                        () = sleep_until(self.turn) => {}
                    }
                }
                self.ask(&insight, &question).await;
            }
        }
    }

    /// Whether another plan may be asked for by now.
    fn is_my_turn(&mut self, insight: &Insight) -> bool {
        let now = Instant::now();
        if self.turn > now {
            return false;
        }
        let step = Duration::from_secs(60) / insight.config().plans_per_minute.max(1);
        let earliest = now.checked_sub(step * BURST).unwrap_or(now);
        self.turn = self.turn.max(earliest) + step;
        true
    }

    async fn tell_slow(&mut self, insight: &Insight) {
        while let Some(run) = insight.next_slow() {
            if let Some(question) = insight.missing_plan(&run)
                && self.is_my_turn(insight)
            {
                self.ask(insight, &question).await;
            }
            insight.tell_slow(&run);
        }
    }

    async fn ask(&mut self, insight: &Insight, question: &Question) {
        let told = match timeout(PATIENCE, self.explain(question)).await {
            Ok(told) => told,
            Err(_) => {
                self.connection = None;
                Err(format!("no answer within {PATIENCE:?}"))
            }
        };
        if let Some((before, after)) = insight.planned(question, told) {
            let costly = after.costly().map(|node| node.name()).unwrap_or_default();
            let sql = question.shown();
            let (cost, earlier) = (after.cost(), before.cost());
            tracing::warn!(
                target: "dbopt::plan",
                fingerprint = question.name(), cost, earlier, costly, "a plan changed for the worse: {sql}"
            );
            let text = format!("its plan changed for the worse: cost {earlier:.0} -> {cost:.0}, {costly}: {sql}");
            if let Some(runtime) = self.runtime.upgrade() {
                runtime.events.note(EventKind::Query, question.name().into(), text);
            }
        }
    }

    async fn explain(&mut self, question: &Question) -> Result<Plan, String> {
        let endpoint = self.place().ok_or("no node is there that could be asked")?;
        if self.connection.as_ref().is_some_and(|(at, _)| !Arc::ptr_eq(at, &endpoint)) {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some((_, connection)) => connection,
            none => {
                let fresh = self.backend.connect(&endpoint, Purpose::Analysis).await;
                &mut none.insert((endpoint, fresh.map_err(|error| error.message)?)).1
            }
        };
        let json = connection.explain(question.sql(), &question.types(), question.params()).await;
        match json {
            Ok(Some(json)) => Plan::read(&json).ok_or_else(|| "the server's answer is no plan".into()),
            Ok(None) => Err("this driver cannot ask for plans".into()),
            Err(fault) => {
                if fault.kind.suspects_node() {
                    self.connection = None;
                }
                // The server's own words may quote the statement.
                Err(fault.sqlstate.map_or_else(
                    || "the connection was lost".into(),
                    |sqlstate| format!("the server refuses to plan it ({sqlstate})"),
                ))
            }
        }
    }

    /// A replica if there is one, so that the primary is left alone; always the same one while it serves.
    fn place(&self) -> Option<Arc<Endpoint>> {
        let runtime = self.runtime.upgrade()?;
        let topology = runtime.cluster.topology();
        let replica =
            (0..topology.nodes.len()).find(|&i| topology.primary != Some(i) && topology.nodes[i].state.serves());
        replica.or(topology.primary).and_then(|node| self.sites.get(node)).map(Site::endpoint)
    }
}
