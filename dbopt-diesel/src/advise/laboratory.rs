//! Where candidates are tried: made up by HypoPG, really built on a scratch copy, or nowhere.

use std::collections::{BTreeMap, BTreeSet};

use dbopt_core::query::advise::{Definition, Reading, Verified};

use super::catalog::one;
use super::error::{Doing, Error};
use super::explain::explain;
use super::hypopg::Hypopg;
use super::scratch::Scratch;
use crate::connect::Session;

/// A statement as it is explained.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) params: usize,
}

/// What the planner says, and which candidates it uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) cost: f64,
    pub(super) used: BTreeSet<usize>,
}

/// Where candidates are tried.
pub(super) enum Laboratory {
    Hypopg(Hypopg),
    Scratch(Scratch),
    /// Nowhere, and why.
    Nowhere(Session, String),
}

impl Laboratory {
    /// The best there is for this session: with a transaction open.
    pub(super) async fn open(session: Session, scratch: Option<&str>) -> Result<Laboratory, Error> {
        if let Some(url) = scratch {
            return Ok(Laboratory::Scratch(Scratch::open(&session, url).await?));
        }
        begin(&session).await?;
        match Hypopg::schema(&session.client).await? {
            Ok(schema) => Ok(Laboratory::Hypopg(Hypopg::new(session, schema))),
            Err(why) => Ok(Laboratory::Nowhere(session, why)),
        }
    }

    pub(super) fn can_verify(&self) -> bool {
        !matches!(self, Laboratory::Nowhere(..))
    }

    pub(super) fn verified(&self) -> Verified {
        match self {
            Laboratory::Hypopg(_) => Verified::Hypopg,
            Laboratory::Scratch(_) => Verified::Scratch,
            Laboratory::Nowhere(_, why) => Verified::Nobody(why.clone()),
        }
    }

    fn session(&self) -> &Session {
        match self {
            Laboratory::Hypopg(hypopg) => &hypopg.session,
            Laboratory::Scratch(scratch) => &scratch.session,
            Laboratory::Nowhere(session, _) => session,
        }
    }

    /// The plan of a statement with what is there.
    pub(super) async fn plain(&self, asked: &Asked) -> Result<Result<Reading, String>, Error> {
        explain(&self.session().client, &asked.text, asked.params).await
    }

    /// Makes candidates; tells for each how many bytes it takes, or why it cannot be made.
    pub(super) async fn make(&mut self, candidates: &[Definition]) -> Result<Vec<Result<u64, String>>, Error> {
        match self {
            Laboratory::Hypopg(hypopg) => hypopg.make(candidates).await,
            Laboratory::Scratch(scratch) => scratch.make(candidates).await,
            Laboratory::Nowhere(..) => Ok(Vec::new()),
        }
    }

    /// The plans of statements with these candidates of those in `nearby`, and no other of them. What is not nearby makes no difference to them.
    pub(super) async fn with(
        &mut self,
        shown: &BTreeSet<usize>,
        nearby: &BTreeSet<usize>,
        asked: &[&Asked],
    ) -> Result<Vec<Option<Answer>>, Error> {
        let names: BTreeMap<String, usize> = match self {
            Laboratory::Hypopg(hypopg) => hypopg.show(shown).await?,
            Laboratory::Scratch(scratch) => scratch.hide(&nearby.difference(shown).copied().collect()).await?,
            Laboratory::Nowhere(..) => return Ok(vec![None; asked.len()]),
        };
        let mut answers = Vec::new();
        for one in asked {
            let told = self.plain(one).await?.ok();
            answers.push(told.map(|reading| Answer {
                cost: reading.cost,
                used: reading.indexes.iter().filter_map(|name| names.get(name)).copied().collect(),
            }));
        }
        if let Laboratory::Scratch(scratch) = self {
            scratch.unhide().await?;
        }
        Ok(answers)
    }

    /// Nothing of it is left.
    pub(super) async fn close(self) -> Result<(), Error> {
        self.session().client.batch_execute("ROLLBACK").await.doing("end the look")
    }
}

/// A transaction in which statements are planned for any values.
pub(super) async fn begin(session: &Session) -> Result<(), Error> {
    session
        .client
        .batch_execute("BEGIN; SET LOCAL plan_cache_mode = force_generic_plan")
        .await
        .doing("begin a transaction")
}

/// Which database a session is on: the cluster's identifier and the database's number.
pub(super) async fn identity(session: &Session) -> Result<Option<String>, Error> {
    let sql = "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid FROM pg_database WHERE datname = current_database()";
    one(&session.client, sql).await.doing("ask which database it is")
}
