//! What is done about statements from time to time: the planner is asked, slow ones are told of.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{EventKind, Runtime};
use crate::backend::{Backend, BoundValue, Connection, Endpoint, Fault, Purpose, Site};
use crate::query::{Insight, Plan, Question};

const TICK: Duration = Duration::from_secs(1);

/// How long connecting and asking may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// An idle connection is closed after this time.
const IDLE: Duration = Duration::from_secs(30);

/// Never, as far as anybody cares.
const FAR: Duration = Duration::from_secs(3600);

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
    /// Until when the questions asked so far would take, evenly spread.
    paid: Instant,
    /// When tables were looked at last.
    watched: Instant,
}

/// Between two questions, if all were asked evenly.
fn step(insight: &Insight) -> Duration {
    Duration::from_secs(60) / insight.config().plans_per_minute.max(1)
}

impl<B: Backend> Planner<B> {
    pub(super) fn new(runtime: Weak<Runtime<B>>, backend: Arc<B>, sites: Vec<Site>) -> Self {
        let now = Instant::now();
        Planner { runtime, backend, sites, connection: None, paid: now, watched: now }
    }

    /// Asks and tells, for as long as the runtime lives.
    pub(super) async fn run(mut self) {
        let Some(insight) = self.runtime.upgrade().map(|runtime| runtime.insight.clone()) else { return };
        loop {
            let (idle_at, watch_at) = (Instant::now() + IDLE, self.watch_at(&insight));
            tokio::select! {
                () = insight.slow_ones() => {}
                () = insight.questions() => {}
                () = sleep_until(watch_at) => {}
                () = sleep_until(idle_at) => self.connection = None,
            }
            loop {
                self.tell_slow(&insight).await;
                self.watch_tables(&insight).await;
                let Some(question) = insight.next_question() else { break };
                while !self.is_my_turn(&insight) {
                    // Slow ones do not wait for the others' turns.
                    tokio::select! {
                        () = insight.slow_ones() => self.tell_slow(&insight).await,
                        () = sleep_until(self.turn(&insight)) => {}
                    }
                }
                self.ask(&insight, &question).await;
            }
        }
    }

    /// Whether another plan may be asked for by now.
    fn is_my_turn(&mut self, insight: &Insight) -> bool {
        let (now, step) = (Instant::now(), step(insight));
        if self.turn(insight) > now {
            return false;
        }
        self.paid = self.paid.max(now) + step;
        true
    }

    /// When another plan may be asked for.
    fn turn(&self, insight: &Insight) -> Instant {
        self.paid.checked_sub(step(insight) * (BURST - 1)).unwrap_or(self.paid)
    }

    async fn tell_slow(&mut self, insight: &Insight) {
        while let Some(run) = insight.next_slow() {
            if let Some(question) = insight.missing_plan(&run)
                && self.is_my_turn(insight)
            {
                self.ask(insight, &question).await;
            }
            let mut for_values = None;
            if insight.wants_plan_for_values(&run)
                && let Some((sql, values)) = run.with_values()
                && self.is_my_turn(insight)
            {
                for_values = insight.planned_with(&run, self.explain_with(sql, &values).await);
            }
            insight.tell_slow(&run, for_values);
        }
    }

    /// When tables are looked at again.
    fn watch_at(&self, insight: &Insight) -> Instant {
        let every = insight.config().plan_watch;
        if every.is_zero() { Instant::now() + FAR } else { self.watched + every }
    }

    /// Looks, when it is time, whether tables in plans are what they were.
    async fn watch_tables(&mut self, insight: &Insight) {
        if self.watch_at(insight) > Instant::now() {
            return;
        }
        self.watched = Instant::now();
        self.mark(insight, insight.planned_tables()).await;
    }

    async fn mark(&mut self, insight: &Insight, tables: Vec<String>) {
        if tables.is_empty() {
            return;
        }
        if let Ok(Some(marks)) = self.table_marks(&tables).await {
            let outdated = insight.tables_marked(&tables, marks);
            if outdated > 0 {
                tracing::debug!(target: "dbopt::plan", outdated, "statistics or schema have changed: plans are asked for again");
            }
        }
    }

    async fn ask(&mut self, insight: &Insight, question: &Question) {
        let worse = insight.planned(question, self.explain(question).await);
        if !insight.config().plan_watch.is_zero() {
            // What changes from now on is noticed.
            self.mark(insight, insight.unmarked_tables(question)).await;
        }
        if let Some((before, after)) = worse {
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
        let mut lent = self.lend().await?;
        let types = question.types();
        let told = timeout(PATIENCE, lent.1.explain(question.sql(), &types, question.params())).await;
        self.settle(lent, told).and_then(read)
    }

    async fn explain_with(&mut self, sql: &str, values: &[BoundValue<'_>]) -> Result<Plan, String> {
        let mut lent = self.lend().await?;
        let told = timeout(PATIENCE, lent.1.explain_with(sql, values)).await;
        self.settle(lent, told).and_then(read)
    }

    async fn table_marks(&mut self, tables: &[String]) -> Result<Option<Vec<(String, String)>>, String> {
        let mut lent = self.lend().await?;
        let told = timeout(PATIENCE, lent.1.table_marks(tables)).await;
        self.settle(lent, told)
    }

    /// The connection to ask on, which is opened where it is missing.
    async fn lend(&mut self) -> Result<(Arc<Endpoint>, B::Connection), String> {
        let endpoint = self.place().ok_or("no node is there that could be asked")?;
        match self.connection.take() {
            Some((at, connection)) if Arc::ptr_eq(&at, &endpoint) => Ok((at, connection)),
            _ => match timeout(PATIENCE, self.backend.connect(&endpoint, Purpose::Analysis)).await {
                Ok(fresh) => fresh.map(|connection| (endpoint, connection)).map_err(|error| error.message),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            },
        }
    }

    /// Takes the connection back, unless it is of no use any more.
    fn settle<T>(
        &mut self,
        lent: (Arc<Endpoint>, B::Connection),
        told: Result<Result<T, Fault>, Elapsed>,
    ) -> Result<T, String> {
        let told = told.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
        if !told.as_ref().is_err_and(|fault| fault.kind.suspects_node()) {
            self.connection = Some(lent);
        }
        // The server's own words may quote the statement.
        told.map_err(|fault| match fault.sqlstate {
            Some(sqlstate) => format!("the server refuses to plan it ({sqlstate})"),
            None => "the connection was lost".into(),
        })
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

fn read(json: Option<String>) -> Result<Plan, String> {
    let json = json.ok_or("this driver cannot ask for plans")?;
    Plan::read(&json).ok_or_else(|| "the server's answer is no plan".into())
}
