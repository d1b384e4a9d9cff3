//! Forward, back, and what is to be said about it.

use std::fs;
use std::time::Duration;

use dbopt_core::runtime::Config;
use dbopt_core::schema::history::{Entry, Outcome, vouching};
use dbopt_core::schema::loss::losses;
use dbopt_core::schema::migration::{Direction, Migration};
use dbopt_core::schema::plan::{Drift, Plan, State};
use dbopt_core::schema::receipt::Receipt;
use dbopt_core::schema::{self, Environment};

use super::backup::copies;
use super::belief::Belief;
use super::error::{Doing, Error};
use super::event::{Event, Watch};
use super::lock;
use super::options::{Back, Forward, Ran, Report, Status};
use super::run::{Runner, Step};
use super::source::Migrations;
use super::store::{Note, Store};
use super::target::{Target, log_end, one};
use crate::connect::Session;

/// The migrations of an application, and the cluster they are for.
#[derive(Debug, Clone)]
pub struct Migrator {
    pub(super) target: Target,
    pub(super) config: schema::Config,
    pub(super) migrations: Migrations,
    pub(super) watch: Watch,
    pub(super) belief: Belief,
}

/// A session that holds the lock, and what it has read under it.
struct Locked {
    session: Session,
    store: Store,
    applied: Vec<String>,
    entries: Vec<Entry>,
}

impl Migrator {
    /// Migrations for the servers that `config` names. Which one is the primary is found out by asking.
    ///
    /// # Errors
    /// For settings that cannot be used.
    pub fn new(config: &Config, migrations: Migrations) -> Result<Migrator, Error> {
        Migrator::on(config, migrations, None)
    }

    pub(super) fn on(config: &Config, migrations: Migrations, primary: Option<&str>) -> Result<Migrator, Error> {
        let target = Target::of(config, primary)?;
        Ok(Migrator {
            target,
            config: config.schema.clone(),
            migrations,
            watch: Watch::default(),
            belief: Belief::default(),
        })
    }

    /// Tells `watch` what happens, as it happens.
    #[must_use]
    pub fn watched(mut self, watch: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.watch = Watch::new(watch);
        self
    }

    /// The migrations.
    pub fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    /// What is applied, what is to be, and what does not agree. Changes nothing.
    ///
    /// # Errors
    /// When no primary can be reached, or its tables cannot be read.
    pub async fn status(&self) -> Result<Status, Error> {
        let session = self.target.primary().await?;
        let store = Store::open(&session).await?;
        let applied = store.applied(&session.client).await?;
        let history = store.entries(&session.client).await?;
        let plan = Plan::of(self.migrations.list(), &applied, &history);
        Ok(Status { plan, history, server: store.server().to_owned() })
    }

    /// Applies what is to be applied, each migration in its transaction. Instances that start together apply each once.
    ///
    /// # Errors
    /// For drift, a missing receipt in production, a lock that was not to be had, and a statement that failed: what was applied before it
    /// stays, its own migration left nothing behind.
    ///
    /// # Cancel safety
    /// Dropping the future has the server stop the statement; the migration it belongs to is rolled back.
    pub async fn up(&self, forward: &Forward) -> Result<Report, Error> {
        let to = forward.to.as_deref().map(|to| self.migrations.find(to).map(|m| m.version.clone())).transpose()?;
        if let Some(report) = self.nothing_to_do(forward).await? {
            return Ok(report);
        }
        let locked = self.locked().await?;
        let plan = Plan::of(self.migrations.list(), &locked.applied, &locked.entries);
        self.refuse_drift(&plan, forward)?;
        if let Some(line) = plan.half_back().next() {
            let what = "taking it back was cut off; `dbopt migrate down` goes on with that".to_owned();
            return Err(Error::Unfinished { migration: line.name.clone(), what });
        }
        self.adopt(&locked, &plan).await?;
        let until = |version: &str| to.as_deref().is_none_or(|to| version <= to);
        let pending: Vec<&Migration> = plan
            .pending()
            .filter(|version| until(version))
            .filter_map(|version| self.migrations.list().iter().find(|m| m.version == version))
            .collect();
        let receipt = self.receipt(&locked, &pending).await?;
        let mut steps = Vec::new();
        for migration in pending {
            steps.push((migration, Direction::Up, forward.backup));
        }
        self.run_all(locked, &steps, receipt.as_deref()).await
    }

    /// Takes versions back, the newest first.
    ///
    /// # Errors
    /// When a version has no way back, or loses data that nobody gave up; then nothing was run. Otherwise as for [`Migrator::up`].
    ///
    /// # Cancel safety
    /// As for [`Migrator::up`].
    pub async fn down(&self, back: &Back) -> Result<Report, Error> {
        let locked = self.locked().await?;
        let all = self.taken_back(back, &locked.applied, &locked.entries)?;
        for migration in &all {
            let (script, _) = migration.script(Direction::Down).map_err(|problem| Error::Source(vec![problem]))?;
            let losses = losses(&script);
            if !losses.is_empty() && !back.accept_data_loss {
                return Err(Error::Lossy { migration: migration.file(Direction::Down), losses });
            }
        }
        let steps: Vec<_> = all.iter().map(|migration| (migration, Direction::Down, back.backup)).collect();
        self.run_all(locked, &steps, None).await
    }

    /// What [`Migrator::down`] would run, in order. Changes nothing.
    ///
    /// # Errors
    /// When no primary can be reached, or nobody knows a version's way back.
    pub async fn would_take_back(&self, back: &Back) -> Result<Vec<Migration>, Error> {
        let status = self.status().await?;
        let applied: Vec<String> =
            status.plan.lines.iter().filter(|line| !line.state.is_pending()).map(|line| line.version.clone()).collect();
        self.taken_back(back, &applied, &status.history)
    }

    fn taken_back(&self, back: &Back, applied: &[String], entries: &[Entry]) -> Result<Vec<Migration>, Error> {
        let mut versions: Vec<&String> = applied.iter().collect();
        versions.sort();
        versions.reverse();
        match &back.to {
            Some(to) => {
                let to = &self.migrations.find(to)?.version;
                versions.retain(|version| *version > to);
            }
            None => versions.truncate(back.steps.unwrap_or(1)),
        }
        versions.into_iter().map(|version| self.way_back(version, entries)).collect()
    }

    /// The migration of an applied version: that of the folder, or, if it is gone, that of the history.
    fn way_back(&self, version: &str, entries: &[Entry]) -> Result<Migration, Error> {
        if let Some(migration) = self.migrations.list().iter().find(|m| m.version == version) {
            return Ok(migration.clone());
        }
        let was = vouching(entries, version).ok_or_else(|| {
            Error::Unknown(format!(
                "{version} is applied, but neither the folder nor the history knows how to take it back"
            ))
        })?;
        Ok(Migration {
            version: version.to_owned(),
            name: was.name.clone(),
            up: was.up.clone(),
            down: was.down.clone(),
            in_transaction: false,
        })
    }

    /// Most starts of an instance find everything applied, and need no lock.
    async fn nothing_to_do(&self, forward: &Forward) -> Result<Option<Report>, Error> {
        let Status { plan, history, server } = self.status().await?;
        let known = |version: &str| vouching(&history, version).is_some();
        let all_known = plan.lines.iter().all(|line| line.state == State::Applied && known(&line.version));
        let drifted = self.drift(&plan, forward).next().is_some() || !forward.accept_drift.is_empty();
        let newer = plan.lines.iter().all(|line| line.state != State::Missing || forward.newer_is_fine);
        let idle = plan.pending().next().is_none() && (all_known || !plan.drift.is_empty() && newer) && !drifted;
        Ok(idle.then(|| Report { server, ..Report::default() }))
    }

    async fn locked(&self) -> Result<Locked, Error> {
        let session = self.target.primary().await?;
        let waiting = |holder: &str| self.watch.tell(&Event::Waiting { holder: holder.to_owned() });
        lock::take(&session.client, self.config.wait, waiting).await?;
        let store = Store::open(&session).await?;
        store.prepare(&session.client).await?;
        let applied = store.applied(&session.client).await?;
        let entries = store.entries(&session.client).await?;
        Ok(Locked { session, store, applied, entries })
    }

    fn drift<'a>(&'a self, plan: &'a Plan, forward: &'a Forward) -> impl Iterator<Item = &'a Drift> {
        let last = self.migrations.list().last().map(|migration| migration.version.as_str());
        plan.drift.iter().filter(move |drift| {
            let newer = drift.state == State::Missing && last.is_none_or(|last| drift.version.as_str() > last);
            let accepted = forward.newer_is_fine && newer || forward.accept_drift.contains(&drift.version);
            !accepted
        })
    }

    fn refuse_drift(&self, plan: &Plan, forward: &Forward) -> Result<(), Error> {
        let found: Vec<Drift> = self.drift(plan, forward).cloned().collect();
        if found.is_empty() { Ok(()) } else { Err(Error::Drift(found)) }
    }

    /// Takes into the history what was applied before there was one, and what was accepted as it is.
    async fn adopt(&self, locked: &Locked, plan: &Plan) -> Result<(), Error> {
        for migration in self.migrations.list() {
            let version = &migration.version;
            let outcome = match vouching(&locked.entries, version) {
                Some(_) if plan.drift.iter().any(|drift| drift.version == *version) => Outcome::Accepted,
                None if locked.applied.contains(version) => Outcome::Adopted,
                _ => continue,
            };
            let note = Note { direction: Direction::Up, outcome, took: Duration::ZERO, receipt: None, error: None };
            locked.store.note(&locked.session.client, migration, note).await?;
        }
        Ok(())
    }

    /// The receipt that production demands; its id.
    async fn receipt(&self, locked: &Locked, pending: &[&Migration]) -> Result<Option<String>, Error> {
        if self.config.environment != Environment::Production || pending.is_empty() {
            return Ok(None);
        }
        let file = &self.config.receipt;
        let unreadable = |why: &dyn std::fmt::Display| {
            Error::Receipt(format!(
                "{file}: {why}; run `dbopt migrate validate` against staging, and bring its receipt here (--receipt, schema.receipt)"
            ))
        };
        let text = fs::read_to_string(file).map_err(|error| unreadable(&error))?;
        let receipt: Receipt = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        let now = now(&locked.session).await?;
        match receipt.refusal(pending, locked.store.major(), now, self.config.receipt_age) {
            Some(why) => Err(Error::Receipt(why)),
            None => Ok(Some(receipt.id)),
        }
    }

    async fn run_all(
        &self,
        locked: Locked,
        steps: &[(&Migration, Direction, bool)],
        receipt: Option<&str>,
    ) -> Result<Report, Error> {
        let Locked { session, store, .. } = locked;
        let runner = Runner { session: &session, store: &store, config: &self.config, watch: &self.watch, trace: None };
        let mut report = Report { server: store.server().to_owned(), ..Report::default() };
        for (migration, direction, backup) in steps {
            self.belief.check()?;
            let mut copied = Vec::new();
            if *backup {
                let (script, _) = migration.script(*direction).map_err(|problem| Error::Source(vec![problem]))?;
                copied = copies(migration, &losses(&script));
            }
            let step = Step { migration, direction: *direction, receipt, backup: &copied };
            let took = runner.run(step).await?;
            report.backups.extend(copied.into_iter().map(|copy| copy.name));
            let (version, name) = (migration.version.clone(), migration.name.clone());
            report.ran.push(Ran { version, name, direction: *direction, took });
        }
        let end = log_end(&session).await?;
        lock::give_back(&session.client).await;
        if !report.ran.is_empty() && !self.config.replica_wait.is_zero() {
            self.watch.tell(&Event::Replicas);
            let patience = self.config.replica_wait;
            report.late_replicas = self.target.wait_for_replicas(&session, end, patience).await;
        }
        Ok(report)
    }
}

/// The server's clock, in seconds of the Unix era.
pub(super) async fn now(session: &Session) -> Result<u64, Error> {
    let text = one(&session.client, "SELECT extract(epoch FROM now())::bigint").await.doing("ask for the time")?;
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}
