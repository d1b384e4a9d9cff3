//! Finds the way back from what a migration has made to what was there before, by trying: a statement that is refused is rolled back, and
//! the catalog says what is still to be done.

use dbopt_core::schema::catalog::{Catalog, Change, Derived, Object, Step, changes, renames};
use futures_util::future::BoxFuture;
use tokio_postgres::Client;

use super::catalog::Reader;
use super::error::{Doing, Error};

/// More rounds than objects that depend on each other in any schema people read.
const ROUNDS: usize = 40;

/// How deep what stands in the way of what stands in the way is looked for.
const DEPTH: usize = 12;

/// The statements that lead from the state of this database, `after`, back to `before`. What they do is rolled back.
pub(super) async fn derive(
    client: &Client,
    reader: &Reader,
    before: &Catalog,
    after: &Catalog,
) -> Result<Derived, Error> {
    let begin = "BEGIN; SET LOCAL check_function_bodies = off; SET LOCAL client_min_messages = warning";
    let begin = format!("{begin}; SET LOCAL search_path = pg_catalog");
    client.batch_execute(&begin).await.doing("derive the way back")?;
    let found = Search { client, reader, before, derived: Derived::default() }.run(after).await;
    client.batch_execute("ROLLBACK").await.doing("derive the way back")?;
    found
}

struct Search<'a> {
    client: &'a Client,
    reader: &'a Reader,
    before: &'a Catalog,
    derived: Derived,
}

impl Search<'_> {
    async fn run(mut self, after: &Catalog) -> Result<Derived, Error> {
        let mut last: Option<(Catalog, usize)> = None;
        for round in 0..ROUNDS {
            let current = if round == 0 { after.clone() } else { self.reader.read_inside(self.client).await? };
            if let Some((was, steps)) = &last
                && was.differences(&current).is_empty()
            {
                // What was done has done nothing, and would be done again.
                self.derived.steps.truncate(*steps);
                self.derived.remaining = self.before.differences(&current);
                return Ok(self.derived);
            }
            last = Some((current.clone(), self.derived.steps.len()));
            if self.all_of(renames(self.before, &current)).await?.0 {
                continue;
            }
            let (progress, refused) = self.all_of(changes(self.before, &current)).await?;
            if progress {
                continue;
            }
            let mut freed = false;
            for change in &refused {
                freed = freed || self.free(change, &current, 0).await?;
            }
            if !freed {
                self.derived.remaining = self.before.differences(&current);
                return Ok(self.derived);
            }
        }
        let current = self.reader.read_inside(self.client).await?;
        self.derived.remaining = self.before.differences(&current);
        Ok(self.derived)
    }

    /// Tries each; whether one worked, and those that did not.
    async fn all_of(&mut self, changes: Vec<Change>) -> Result<(bool, Vec<Change>), Error> {
        let (mut progress, mut refused) = (false, Vec::new());
        for change in changes {
            if self.change(&change).await?.is_ok() {
                progress = true;
            } else {
                refused.push(change);
            }
        }
        Ok((progress, refused))
    }

    async fn change(&mut self, change: &Change) -> Result<Result<(), String>, Error> {
        for sql in [&change.sql, &change.instead] {
            if sql.is_empty() {
                continue;
            }
            match self.attempt(sql).await? {
                Ok(()) => {
                    let notes = std::iter::once(change.note.clone()).chain(std::iter::repeat(None));
                    let steps = sql.iter().cloned().zip(notes).map(|(sql, note)| Step { sql, note });
                    self.derived.steps.extend(steps);
                    return Ok(Ok(()));
                }
                Err(code) if change.instead.is_empty() || sql == &change.instead => return Ok(Err(code)),
                Err(_) => {}
            }
        }
        Ok(Err(String::new()))
    }

    /// All or nothing; the SQLSTATE of what was refused.
    async fn attempt(&self, sql: &[String]) -> Result<Result<(), String>, Error> {
        self.client.batch_execute("SAVEPOINT attempt").await.doing("try a statement")?;
        for statement in sql {
            if let Err(error) = self.client.batch_execute(statement).await {
                let Some(db) = error.as_db_error() else {
                    return Err(Error::Database { doing: "derive the way back", error });
                };
                let code = db.code().code().to_owned();
                tracing::debug!(statement, message = db.message(), "refused");
                self.client.batch_execute("ROLLBACK TO attempt; RELEASE attempt").await.doing("undo an attempt")?;
                return Ok(Err(code));
            }
        }
        self.client.batch_execute("RELEASE attempt").await.doing("keep an attempt")?;
        Ok(Ok(()))
    }

    /// Drops what stands in the way of a change, and makes it: what was there before comes back in a later round.
    fn free<'a>(
        &'a mut self,
        change: &'a Change,
        current: &'a Catalog,
        depth: usize,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let sql = if change.instead.is_empty() { &change.sql } else { &change.instead };
            let code = match self.attempt(sql).await? {
                // What was freed for another change has made this one possible; the next round does it.
                Ok(()) => return Ok(true),
                Err(code) => code,
            };
            let Some(statement) = sql.first().filter(|_| depth < DEPTH) else { return Ok(false) };
            let in_the_way = match code.as_str() {
                "2BP01" => self.taken_along(statement, current).await?,
                "0A000" => self.views_on(statement, current).await?,
                _ => Vec::new(),
            };
            let mut freed = false;
            for object in in_the_way {
                let dropping = Change { sql: vec![object.drop.clone()], instead: Vec::new(), note: None };
                freed |= match self.change(&dropping).await? {
                    Ok(()) => true,
                    Err(_) => self.free(&dropping, current, depth + 1).await?,
                };
            }
            // At once: the next round would put back what was in the way.
            if freed {
                drop(self.change(change).await?);
            }
            Ok(freed)
        })
    }

    /// What `CASCADE` would drop besides, the parts of what is dropped left out.
    async fn taken_along(&self, statement: &str, current: &Catalog) -> Result<Vec<Object>, Error> {
        self.client.batch_execute("SAVEPOINT look").await.doing("look what depends on it")?;
        let dropped = self.client.batch_execute(&format!("{statement} CASCADE")).await.is_ok();
        let after = if dropped { Some(self.reader.read_inside(self.client).await?) } else { None };
        self.client.batch_execute("ROLLBACK TO look; RELEASE look").await.doing("look what depends on it")?;
        let Some(after) = after else { return Ok(Vec::new()) };
        let gone = |object: &&Object| after.find(object.kind, &object.name).is_none() && !object.drop.is_empty();
        let own = |object: &&Object| object.drop != statement && !is_part_of(object, statement);
        Ok(current.objects().rev().filter(gone).filter(own).cloned().collect())
    }

    /// The views that read the table of an `ALTER TABLE`.
    async fn views_on(&self, statement: &str, current: &Catalog) -> Result<Vec<Object>, Error> {
        let Some(table) = statement.strip_prefix("ALTER TABLE ").and_then(|rest| rest.split(" ALTER ").next()) else {
            return Ok(Vec::new());
        };
        let sql = "SELECT DISTINCT ev_class::regclass::text FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid \
                   WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass($1) AND ev_class <> d.refobjid";
        let rows = self.client.query(sql, &[&table]).await.doing("look which views read a table")?;
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        Ok(current.objects().filter(|object| names.contains(&object.name) && object.of.is_none()).cloned().collect())
    }
}

/// A column goes with its table, and so on.
fn is_part_of(object: &Object, statement: &str) -> bool {
    object
        .of
        .as_ref()
        .is_some_and(|of| statement == format!("DROP TABLE {of}") || statement == format!("DROP TYPE {of}"))
}
