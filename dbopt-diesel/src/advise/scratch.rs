//! Indexes that are really built, on a copy of the database, in one transaction that is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use dbopt_core::query::advise::Definition;

use super::catalog::one;
use super::error::{Doing, Error};
use super::laboratory::{begin, identity};
use super::options::APPLICATION;
use crate::connect::{Session, session};

const DOING: &str = "build an index on the scratch copy";

/// Building takes its time.
const PATIENTLY: &str =
    "SET statement_timeout = '30min'; SET lock_timeout = '10s'; SET jit = off; SET max_parallel_workers_per_gather = 0";

/// A session on the copy, in a transaction.
pub(super) struct Scratch {
    pub(super) session: Session,
    /// The schema of each candidate, if it could be built.
    built: Vec<Option<String>>,
}

impl Scratch {
    /// Opens it; `original` is what it is a copy of.
    pub(super) async fn open(original: &Session, url: &str) -> Result<Scratch, Error> {
        let session = session(url, APPLICATION).await.map_err(Error::Connect)?;
        if identity(original).await? == identity(&session).await? {
            return Err(Error::Scratch(
                "the scratch copy is the database itself: building indexes there would hold up its writes; name a copy of it, such as one restored from a \
                 backup or made with CREATE DATABASE .. TEMPLATE"
                    .to_owned(),
            ));
        }
        session.client.batch_execute(PATIENTLY).await.doing("set up the session on the scratch copy")?;
        begin(&session).await?;
        Ok(Scratch { session, built: Vec::new() })
    }

    pub(super) async fn make(&mut self, candidates: &[Definition]) -> Result<Vec<Result<u64, String>>, Error> {
        let client = &self.session.client;
        let mut made = Vec::new();
        let mut analyzed = BTreeSet::new();
        for (at, candidate) in candidates.iter().enumerate() {
            client.batch_execute("SAVEPOINT dbopt_make").await.doing(DOING)?;
            let done = client.batch_execute(&format!("CREATE INDEX {} {}", name(at), candidate.on())).await;
            let size = match &done {
                Ok(()) => {
                    let schema = candidate.schema.replace('"', "\"\"");
                    let sql =
                        format!("SELECT pg_relation_size('\"{}\".{}')::text", schema.replace('\'', "''"), name(at));
                    self.built.push(Some(format!("\"{schema}\"")));
                    let size = one(client, &sql).await.doing(DOING)?;
                    client.batch_execute("RELEASE SAVEPOINT dbopt_make").await.doing(DOING)?;
                    Ok(size.and_then(|size| size.parse().ok()).unwrap_or(0))
                }
                Err(error) => {
                    self.built.push(None);
                    let Some(db) = error.as_db_error() else {
                        return Err(done.doing(DOING).err().unwrap_or(Error::NoPrimary));
                    };
                    let why = db.message().to_owned();
                    client
                        .batch_execute("ROLLBACK TO SAVEPOINT dbopt_make; RELEASE SAVEPOINT dbopt_make")
                        .await
                        .doing(DOING)?;
                    Err(why)
                }
            };
            // Of an expression nothing is known before.
            if size.is_ok() && candidate.keys.iter().any(|key| key.sql.starts_with('(')) {
                analyzed
                    .insert(candidate.on().split(" (").next().unwrap_or_default().trim_start_matches("ON ").to_owned());
            }
            made.push(size);
        }
        for table in analyzed {
            client.batch_execute(&format!("ANALYZE {table}")).await.doing("analyze a table of the scratch copy")?;
        }
        Ok(made)
    }

    /// Takes these away until [`unhide`](Self::unhide); gives the names of the others.
    pub(super) async fn hide(&self, hidden: &BTreeSet<usize>) -> Result<BTreeMap<String, usize>, Error> {
        let mut sql = "SAVEPOINT dbopt_hidden".to_owned();
        for &at in hidden {
            if let Some(Some(schema)) = self.built.get(at) {
                sql.push_str(&format!("; DROP INDEX {schema}.{}", name(at)));
            }
        }
        self.session.client.batch_execute(&sql).await.doing("hide an index of the scratch copy")?;
        Ok((0..self.built.len()).map(|at| (name(at), at)).collect())
    }

    pub(super) async fn unhide(&self) -> Result<(), Error> {
        let sql = "ROLLBACK TO SAVEPOINT dbopt_hidden; RELEASE SAVEPOINT dbopt_hidden";
        self.session.client.batch_execute(sql).await.doing("show an index of the scratch copy")
    }
}

fn name(at: usize) -> String {
    format!("dbopt_candidate_{at}")
}
