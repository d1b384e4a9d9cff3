//! Trying migrations on a scratch database before they come near a real one; what is proved gets a receipt.

use std::collections::BTreeMap;
use std::sync::Arc;

use dbopt_core::schema::lint::{Finding, lint};
use dbopt_core::schema::migration::{Direction, Migration};
use dbopt_core::schema::receipt::Receipt;
use tokio::sync::Mutex;

use super::error::{Doing, Error};
use super::event::Event;
use super::migrator::{Migrator, now};
use super::proof::Prover;
use super::scratch::Scratch;
use super::statements::{Statements, shape};
use super::trace::{Trace, Traced};

/// What to validate, and where.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// The server for the scratch database; that of the primary without.
    pub staging: Option<String>,
    /// All migrations, not just those that the database has not seen.
    pub all: bool,
    /// Statements that the application runs; each must mean the same after every migration.
    pub statements: Statements,
    /// Whether the statements that the server has counted (`pg_stat_statements`) are looked at, too.
    pub counted_statements: bool,
}

/// What a validation has found.
#[derive(Debug, Clone)]
pub struct Validation {
    /// The migrations that went forward, back and forward again.
    pub tried: Vec<String>,
    /// What keeps them from being proved; nothing: there is a receipt.
    pub problems: Vec<String>,
    /// What the lint says, exceptions included.
    pub findings: Vec<Finding>,
    /// What each statement locks.
    pub trace: Vec<Traced>,
    /// How many rows the tables of the real database have, roughly.
    pub rows: BTreeMap<String, i64>,
    /// How many statements of the application were prepared.
    pub statements: usize,
    /// The proof, if there is nothing against it.
    pub receipt: Option<Receipt>,
}

impl Migrator {
    /// Tries every new migration on a scratch database: forward, back and forward again with the catalog compared, its locks traced, its
    /// SQL judged, and the application's statements prepared against the new schema.
    ///
    /// # Errors
    /// When there is no scratch database to be had. What is wrong with the migrations is no error, but told.
    pub async fn validate(&self, trial: &Trial) -> Result<Validation, Error> {
        let (applied, rows, statements) = self.ask_target(trial).await?;
        let is_new = |migration: &Migration| trial.all || !applied.contains(&migration.version);
        let scratch = Scratch::make(&self.staging_url(trial.staging.as_deref()).await?).await?;
        let mut work = Work {
            prover: Prover { scratch: &scratch, config: &self.config, trace: Mutex::new(Trace::default()) },
            statements: statements.iter().map(|sql| (sql.clone(), None)).collect(),
            validation: Validation {
                tried: Vec::new(),
                problems: Vec::new(),
                findings: lint(self.migrations.list(), is_new),
                trace: Vec::new(),
                rows,
                statements: statements.len(),
                receipt: None,
            },
        };
        let done = self.try_all(&mut work, is_new).await;
        let Work { prover, mut validation, .. } = work;
        validation.trace = prover.trace.into_inner().lines;
        let receipt = self.receipt_for(&scratch, &validation, is_new).await;
        scratch.end().await?;
        done?;
        for finding in validation.findings.iter().filter(|finding| finding.allowed.is_none()) {
            validation
                .problems
                .push(format!("{} line {}: {} ({})", finding.file, finding.line, finding.what, finding.rule));
        }
        validation.receipt = if validation.problems.is_empty() { Some(receipt?) } else { None };
        Ok(validation)
    }

    /// What the real database has already, and what the application asks of it.
    async fn ask_target(&self, trial: &Trial) -> Result<(Vec<String>, BTreeMap<String, i64>, Vec<Arc<str>>), Error> {
        let status = self.status().await?;
        let seen = status.plan.lines.iter().filter(|line| !line.state.is_pending());
        let applied = seen.map(|line| line.version.clone()).collect();
        let session = self.target.primary().await?;
        let sql = "SELECT c.oid::regclass::text, greatest(reltuples, 0)::bigint FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = \
                   relnamespace WHERE relkind IN ('r', 'm') AND nspname !~ '^pg_' AND nspname <> 'information_schema'";
        let rows = session.client.query(sql, &[]).await.doing("look how big the tables are")?;
        let mut statements = trial.statements.list();
        if trial.counted_statements {
            statements.extend(Statements::of_server(&session.client).await?.list());
        }
        Ok((applied, rows.iter().map(|row| (row.get(0), row.get(1))).collect(), statements))
    }

    async fn try_all(&self, work: &mut Work<'_>, is_new: impl Fn(&Migration) -> bool) -> Result<(), Error> {
        let mut learnt = false;
        for migration in self.migrations.list() {
            self.watch.tell(&Event::Checking { what: migration.name.clone() });
            if !is_new(migration) {
                work.prover.run(migration, Direction::Up, false).await?;
                continue;
            }
            if !learnt {
                work.learn_statements().await?;
                learnt = true;
            }
            match work.one(migration).await {
                Ok(true) => work.validation.tried.push(migration.name.clone()),
                Ok(false) => break,
                Err(error @ (Error::Failed(_) | Error::Source(_))) => {
                    work.validation.problems.push(error.to_string());
                    // Those that follow rest on it.
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receipt_for(
        &self,
        scratch: &Scratch,
        validation: &Validation,
        is_new: impl Fn(&Migration) -> bool,
    ) -> Result<Receipt, Error> {
        let proved: Vec<Migration> = self
            .migrations
            .list()
            .iter()
            .filter(|migration| is_new(migration) && validation.tried.contains(&migration.name))
            .cloned()
            .collect();
        Ok(Receipt::new(&proved, scratch.store.major(), now(&scratch.session).await?))
    }
}

/// A validation under way.
struct Work<'a> {
    prover: Prover<'a>,
    /// The application's statements, and what each gave back before; none if it could not be run then.
    statements: Vec<(Arc<str>, Option<String>)>,
    validation: Validation,
}

impl Work<'_> {
    /// Whether the migration is applied afterwards, so that others can follow.
    async fn one(&mut self, migration: &Migration) -> Result<bool, Error> {
        let before = self.prover.catalog().await?;
        self.prover.run(migration, Direction::Up, true).await?;
        let after = self.prover.catalog().await?;
        self.compare_statements(migration).await?;
        if migration.down.is_none() {
            self.validation.problems.push(format!(
                "{}: there is no way back; `dbopt migrate generate-down {}` derives it",
                migration.name, migration.version
            ));
            return Ok(true);
        }
        let returned = self.prover.there_and_back(migration, &before, &after).await?;
        self.validation.problems.extend(returned.wrong);
        Ok(returned.is_applied)
    }

    async fn learn_statements(&mut self) -> Result<(), Error> {
        for (sql, shape_before) in &mut self.statements {
            *shape_before = shape(&self.prover.scratch.session.client, sql).await?.ok();
        }
        Ok(())
    }

    /// What the application runs now must be understood, and give back the same columns.
    async fn compare_statements(&mut self, migration: &Migration) -> Result<(), Error> {
        for (sql, before) in &mut self.statements {
            let Some(was) = before else { continue };
            let broken = match shape(&self.prover.scratch.session.client, sql).await? {
                Ok(now) if now == *was => continue,
                Ok(now) => format!("gives {now} instead of {was}"),
                Err(why) => format!("fails: {why}"),
            };
            let short: String = sql.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(120).collect();
            self.validation
                .problems
                .push(format!("{}: a statement of the application {broken}\n    {short}", migration.name));
            // Told once.
            *before = None;
        }
        Ok(())
    }
}
