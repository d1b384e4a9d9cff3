//! Finds the way back from what a migration has made to what was there before, by trying: a statement that is refused is rolled back, and
//! the catalog says what is still to be done.

use dbopt_core::schema::catalog::{Catalog, Change, Derived, Kind, Object, Step, changes, renames};
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

/// Why a change was refused.
struct Refused {
    code: String,
    /// The statement, and those of the change before it.
    statement: String,
    before: Vec<String>,
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
                freed = freed || self.free(change, 0).await?;
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

    /// Makes a change, the one way or the other.
    async fn change(&mut self, change: &Change) -> Result<Result<(), Refused>, Error> {
        let mut refused = None;
        for sql in [&change.sql, &change.instead].into_iter().filter(|sql| !sql.is_empty()) {
            match self.attempt(sql).await? {
                Ok(()) => {
                    let notes = std::iter::once(change.note.clone()).chain(std::iter::repeat(None));
                    let steps = sql.iter().cloned().zip(notes).map(|(sql, note)| Step { sql, note });
                    self.derived.steps.extend(steps);
                    return Ok(Ok(()));
                }
                Err(why) => refused = Some(why),
            }
        }
        let nothing = || Refused { code: String::new(), statement: String::new(), before: Vec::new() };
        Ok(Err(refused.unwrap_or_else(nothing)))
    }

    /// All or nothing.
    async fn attempt(&self, sql: &[String]) -> Result<Result<(), Refused>, Error> {
        self.client.batch_execute("SAVEPOINT attempt").await.doing("try a statement")?;
        for (i, statement) in sql.iter().enumerate() {
            if let Err(error) = self.client.batch_execute(statement).await {
                let Some(db) = error.as_db_error() else {
                    return Err(Error::Database { doing: "derive the way back", error });
                };
                tracing::debug!(statement, message = db.message(), "refused");
                let (code, statement) = (db.code().code().to_owned(), statement.clone());
                self.client.batch_execute("ROLLBACK TO attempt; RELEASE attempt").await.doing("undo an attempt")?;
                return Ok(Err(Refused { code, statement, before: sql[..i].to_vec() }));
            }
        }
        self.client.batch_execute("RELEASE attempt").await.doing("keep an attempt")?;
        Ok(Ok(()))
    }

    /// Drops what stands in the way of a change, and makes it at once: what was there before comes back in a later round. If it cannot be
    /// made all the same, nothing is dropped.
    fn free<'a>(&'a mut self, change: &'a Change, depth: usize) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let steps = self.derived.steps.len();
            self.client.batch_execute("SAVEPOINT freeing").await.doing("try a statement")?;
            for _ in depth..DEPTH {
                let Err(refused) = self.change(change).await? else {
                    self.client.batch_execute("RELEASE freeing").await.doing("keep an attempt")?;
                    return Ok(true);
                };
                let in_the_way = self.in_the_way(&refused).await?;
                let mut freed = false;
                for object in in_the_way {
                    let dropping = Change { sql: vec![object.drop.clone()], instead: Vec::new(), note: None };
                    freed |= self.change(&dropping).await?.is_ok() || self.free(&dropping, depth + 1).await?;
                }
                if !freed {
                    break;
                }
            }
            self.client.batch_execute("ROLLBACK TO freeing; RELEASE freeing").await.doing("undo an attempt")?;
            self.derived.steps.truncate(steps);
            Ok(false)
        })
    }

    async fn in_the_way(&self, refused: &Refused) -> Result<Vec<Object>, Error> {
        match refused.code.as_str() {
            "2BP01" => self.taken_along(refused).await,
            "0A000" => self.users_of_column(&refused.statement).await,
            _ => Ok(Vec::new()),
        }
    }

    /// What `CASCADE` would drop besides, the parts of what is dropped left out.
    async fn taken_along(&self, refused: &Refused) -> Result<Vec<Object>, Error> {
        let Refused { statement, before, .. } = refused;
        let current = self.reader.read_inside(self.client).await?;
        self.client.batch_execute("SAVEPOINT look").await.doing("look what depends on it")?;
        let all = before.iter().cloned().chain([format!("{statement} CASCADE")]).collect::<Vec<_>>().join("; ");
        let dropped = self.client.batch_execute(&all).await.is_ok();
        let after = if dropped { Some(self.reader.read_inside(self.client).await?) } else { None };
        self.client.batch_execute("ROLLBACK TO look; RELEASE look").await.doing("look what depends on it")?;
        let Some(after) = after else { return Ok(Vec::new()) };
        let gone = |object: &&Object| after.find(object.kind, &object.name).is_none() && !object.drop.is_empty();
        let own = |object: &&Object| object.drop != *statement && !is_part_of(object, statement);
        Ok(current.objects().rev().filter(gone).filter(own).cloned().collect())
    }

    /// What keeps a column from changing its type: views that read its table; if there are none, the table's own policies, triggers,
    /// rules and computed columns.
    async fn users_of_column(&self, statement: &str) -> Result<Vec<Object>, Error> {
        let Some(table) = statement.strip_prefix("ALTER TABLE ").and_then(|rest| rest.split(" ALTER ").next()) else {
            return Ok(Vec::new());
        };
        let current = self.reader.read_inside(self.client).await?;
        let sql = "SELECT DISTINCT ev_class::regclass::text FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid \
                   WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass($1) AND ev_class <> d.refobjid";
        let rows = self.client.query(sql, &[&table]).await.doing("look which views read a table")?;
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let views = current.objects().filter(|object| object.of.is_none() && names.contains(&object.name));
        let views: Vec<Object> = views.cloned().collect();
        if !views.is_empty() {
            return Ok(views);
        }
        let uses = |object: &&Object| match object.kind {
            Kind::Policy | Kind::Trigger | Kind::Rule => true,
            Kind::Column => object.part("generated").is_some(),
            _ => false,
        };
        let own = current.objects().filter(|object| object.of.as_deref() == Some(table)).filter(uses);
        Ok(own.cloned().collect())
    }
}

/// A column goes with its table, and so on.
fn is_part_of(object: &Object, statement: &str) -> bool {
    let owners = ["TABLE", "TYPE", "VIEW", "MATERIALIZED VIEW", "DOMAIN"];
    object.of.as_ref().is_some_and(|of| owners.iter().any(|owner| statement == format!("DROP {owner} {of}")))
}
