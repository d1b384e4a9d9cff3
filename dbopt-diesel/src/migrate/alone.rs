//! What cannot run in a transaction: begun in the history, run, ended in the history; and taken up again where it was cut off.

use std::time::Duration;

use dbopt_core::schema::history::{Outcome, unfinished};
use dbopt_core::schema::script::{Alone, Script, Statement};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::error::{Doing, Error};
use super::event::Event;
use super::lock;
use super::run::{NOTHING_LEFT, Runner, Step, failure, outcome};
use super::store::Note;

/// What is to be done now.
enum Next {
    Run(String),
    /// An earlier attempt has done it.
    Done,
}

pub(super) async fn run(runner: &Runner<'_>, step: Step<'_>, script: &Script, what: &Alone) -> Result<Duration, Error> {
    let Some(statement) = script.statements().next() else { return Ok(Duration::ZERO) };
    let client = &runner.session.client;
    if !lock::is_ours(client).await? {
        return Err(Error::Pooler);
    }
    let entries = runner.store.entries(client).await?;
    let before = unfinished(&entries, &step.migration.version);
    let next = prepare(runner, step, &statement, what, before.is_some()).await?;
    let begun = Instant::now();
    let note = Note {
        direction: step.direction,
        outcome: Outcome::Started,
        took: Duration::ZERO,
        receipt: step.receipt,
        error: None,
    };
    let id = match before {
        Some(entry) => entry.id,
        None => runner.store.note(client, step.migration, note).await?,
    };
    if let Next::Run(sql) = next {
        runner.watch.tell(&Event::Statement { nth: 1, summary: statement.summary() });
        // An index is built and dropped beside readers and writers, and waits for them as long as it takes.
        let waits = matches!(what, Alone::CreateIndex { .. } | Alone::DropIndex { .. } | Alone::Reindex);
        let lock_timeout = if waits { 0 } else { runner.config.lock_timeout.as_millis() };
        let lost = runner.store.notices_a_lost_client().replace("SET LOCAL", "SET");
        let set = format!("SET lock_timeout = {lock_timeout}; SET statement_timeout = 0{lost}");
        client.batch_execute(&set).await.doing("set the timeouts")?;
        let from = Instant::now();
        let done = client.batch_execute(&sql).await;
        if let Err(error) = done {
            let mut failure = failure(step, script, (1, statement), &error, NOTHING_LEFT);
            let done_before = before.is_some() && is_done_already(what, failure.sqlstate.as_deref());
            if !done_before {
                let clean = clean_up(client, what).await.unwrap_or(false);
                if !clean {
                    failure.state = "it may have left something behind; run it again, and that is dealt with first";
                }
                let ended =
                    runner.store.close(client, id, Outcome::Failed, begun.elapsed(), Some(&failure.to_string())).await;
                drop(ended);
                return Err(Error::Failed(Box::new(failure)));
            }
        }
        if let Some(trace) = runner.trace {
            trace.lock().await.alone(&step.migration.file(step.direction), &statement, what.name(), from.elapsed());
        }
    }
    let sql = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; BEGIN";
    client.batch_execute(sql).await.doing("begin a transaction")?;
    runner.store.set_version(client, &step.migration.version, step.direction).await?;
    runner.store.close(client, id, outcome(step.direction), begun.elapsed(), None).await?;
    client.batch_execute("COMMIT").await.doing("commit the version")?;
    Ok(begun.elapsed())
}

/// Looks at what an earlier attempt has left, and removes what is no use.
async fn prepare(
    runner: &Runner<'_>,
    step: Step<'_>,
    statement: &Statement<'_>,
    what: &Alone,
    cut_off: bool,
) -> Result<Next, Error> {
    let client = &runner.session.client;
    let again = || Next::Run(statement.sql.to_owned());
    let resumed = |what: String| runner.watch.tell(&Event::Resumed { what });
    match what {
        Alone::CreateIndex { name: Some(name), table: Some(table) } => match index_state(client, table, name).await? {
            Some((index, false)) => {
                drop_index(client, &index).await?;
                resumed(format!("removed the invalid index {index} that an attempt before had left"));
                Ok(again())
            }
            Some((index, true)) if cut_off => {
                resumed(format!("the index {index} was finished before the attempt was cut off"));
                Ok(Next::Done)
            }
            _ => Ok(again()),
        },
        Alone::CreateIndex { table, .. } if cut_off => Err(Error::Unfinished {
            migration: step.migration.name.clone(),
            what: format!(
                "the index has no name, so nobody can tell which one it is; drop the invalid index of {} and give this one a name",
                table.as_deref().unwrap_or("its table")
            ),
        }),
        Alone::DropIndex { name: Some(name) } if cut_off && !exists(client, name).await? => {
            resumed(format!("the index {name} was dropped before the attempt was cut off"));
            Ok(Next::Done)
        }
        Alone::Reindex if cut_off => {
            let removed = remove_leftovers(client).await?;
            if !removed.is_empty() {
                resumed(format!("removed {} that an attempt before had left", removed.join(", ")));
            }
            Ok(again())
        }
        Alone::Detach { table, partition } if cut_off => match detach_state(client, table, partition).await? {
            None => {
                resumed(format!("{partition} was detached before the attempt was cut off"));
                Ok(Next::Done)
            }
            Some(true) => {
                resumed(format!("finishing what was begun with {partition}"));
                Ok(Next::Run(format!("ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE")))
            }
            Some(false) => Ok(again()),
        },
        _ => Ok(again()),
    }
}

/// Removes what a failed statement has left; whether it left nothing.
async fn clean_up(client: &Client, what: &Alone) -> Result<bool, Error> {
    match what {
        Alone::CreateIndex { name: Some(name), table: Some(table) } => {
            if let Some((index, false)) = index_state(client, table, name).await? {
                drop_index(client, &index).await?;
            }
            Ok(true)
        }
        Alone::Reindex => remove_leftovers(client).await.map(|_| true),
        Alone::Once(_) | Alone::Repeatable(_) => Ok(true),
        _ => Ok(false),
    }
}

/// Its full name and whether it is valid.
async fn index_state(client: &Client, table: &str, name: &str) -> Result<Option<(String, bool)>, Error> {
    let sql = "SELECT i.indexrelid::regclass::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
               WHERE i.indrelid = to_regclass($1) AND c.relname = (parse_ident($2))[array_length(parse_ident($2), 1)]";
    let row = client.query_opt(sql, &[&table, &name]).await.doing("look for the index")?;
    Ok(row.map(|row| (row.get(0), row.get(1))))
}

async fn drop_index(client: &Client, index: &str) -> Result<(), Error> {
    let sql = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
    client.batch_execute("SET lock_timeout = 0; SET statement_timeout = 0").await.doing("set the timeouts")?;
    client.batch_execute(&sql).await.doing("drop the invalid index")
}

async fn exists(client: &Client, name: &str) -> Result<bool, Error> {
    let row = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await;
    Ok(row.doing("look for the index")?.get(0))
}

/// The copies that `REINDEX CONCURRENTLY` leaves when it is cut off.
async fn remove_leftovers(client: &Client) -> Result<Vec<String>, Error> {
    let sql = "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
               WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' \
               AND i.indrelid NOT IN (SELECT relid FROM pg_stat_progress_create_index)";
    let rows = client.query(sql, &[]).await.doing("look for invalid indexes")?;
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    for name in &names {
        drop_index(client, name).await?;
    }
    Ok(names)
}

/// Whether detaching is pending; none if it is no partition any more.
async fn detach_state(client: &Client, table: &str, partition: &str) -> Result<Option<bool>, Error> {
    let sql =
        "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2)";
    let row = client.query_opt(sql, &[&partition, &table]).await.doing("look at the partition")?;
    Ok(row.map(|row| row.get(0)))
}

/// The error of doing once more what was done: it exists, or is gone.
fn is_done_already(what: &Alone, sqlstate: Option<&str>) -> bool {
    matches!(what, Alone::Once(_)) && matches!(sqlstate, Some("42P04" | "42710" | "3D000" | "42704"))
}
