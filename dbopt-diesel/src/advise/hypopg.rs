//! Indexes that are made up: they live in one session, and only EXPLAIN sees them.

use std::collections::{BTreeMap, BTreeSet};

use dbopt_core::query::advise::Definition;
use tokio_postgres::Client;

use super::catalog::one;
use super::error::{Doing, Error};
use crate::connect::Session;

const DOING: &str = "make up an index";

/// A session with HypoPG, in a transaction.
pub(super) struct Hypopg {
    pub(super) session: Session,
    schema: String,
    candidates: Vec<Definition>,
}

impl Hypopg {
    /// Where its functions are; or why they cannot be used.
    pub(super) async fn schema(client: &Client) -> Result<Result<String, String>, Error> {
        let sql = "SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'";
        let Some(schema) = one(client, sql).await.doing("look for HypoPG")? else {
            return Ok(Err(
                "this database does not have the extension HypoPG, and no scratch copy was named (--scratch)"
                    .to_owned(),
            ));
        };
        let usable = format!("SELECT has_function_privilege('{schema}.hypopg_create_index(text)', 'EXECUTE')::text");
        Ok(match one(client, &usable).await.doing("look for HypoPG")?.as_deref() {
            Some("true") => Ok(schema),
            _ => Err("this user may not use HypoPG, and no scratch copy was named (--scratch)".to_owned()),
        })
    }

    pub(super) fn new(session: Session, schema: String) -> Hypopg {
        Hypopg { session, schema, candidates: Vec::new() }
    }

    pub(super) async fn make(&mut self, candidates: &[Definition]) -> Result<Vec<Result<u64, String>>, Error> {
        let client = &self.session.client;
        let mut made = Vec::new();
        for candidate in candidates {
            client.batch_execute("SAVEPOINT dbopt_make").await.doing(DOING)?;
            let sql = format!(
                "SELECT {0}.hypopg_relation_size(indexrelid)::text FROM {0}.hypopg_create_index($1)",
                self.schema
            );
            let size = client.query_one(&sql, &[&format!("CREATE INDEX {}", candidate.on())]).await;
            made.push(match size {
                Ok(row) => Ok(row.get::<_, String>(0).parse().unwrap_or(0)),
                Err(error) => Err(error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned())),
            });
            client
                .batch_execute("ROLLBACK TO SAVEPOINT dbopt_make; RELEASE SAVEPOINT dbopt_make")
                .await
                .doing(DOING)?;
            self.reset().await?;
        }
        self.candidates = candidates.to_vec();
        Ok(made)
    }

    /// Makes up these and no others; gives the names under which plans show them.
    pub(super) async fn show(&self, shown: &BTreeSet<usize>) -> Result<BTreeMap<String, usize>, Error> {
        self.reset().await?;
        let sql = format!("SELECT indexname::text FROM {}.hypopg_create_index($1)", self.schema);
        let create = self.session.client.prepare(&sql).await.doing(DOING)?;
        let mut names = BTreeMap::new();
        for &at in shown {
            let Some(candidate) = self.candidates.get(at) else { continue };
            let row = self.session.client.query_one(&create, &[&format!("CREATE INDEX {}", candidate.on())]).await;
            names.insert(row.doing(DOING)?.get(0), at);
        }
        Ok(names)
    }

    async fn reset(&self) -> Result<(), Error> {
        self.session.client.batch_execute(&format!("SELECT {}.hypopg_reset()", self.schema)).await.doing(DOING)
    }
}
