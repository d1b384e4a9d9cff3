//! The session that holds a server's vote, and over which everything is asked and done.

use std::sync::Arc;
use std::time::Duration;

use dbopt_core::failover::{Place, Seen, Sight};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::SimpleQueryMessage;

use super::Error;
use super::look::{SQL, VOTE, read};
use crate::connect::{Address, Session, session_on};

/// The name of our sessions in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "dbopt supervise";
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A server.
pub(super) struct Link {
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    url: String,
    lease: Duration,
    session: Option<Session>,
    voted: bool,
    misses: u32,
    lost_since: Option<Instant>,
    idle_since: Option<Instant>,
    /// Why it did not answer.
    pub(super) trouble: String,
    pub(super) seen: Option<Seen>,
}

impl Link {
    pub(super) fn new(name: &str, url: &str, place: Place, lease: Duration) -> Self {
        Link {
            name: name.into(),
            place,
            url: url.to_owned(),
            lease,
            session: None,
            voted: false,
            misses: 0,
            lost_since: None,
            idle_since: None,
            trouble: String::new(),
            seen: None,
        }
    }

    /// One for each server of the settings; nothing is connected yet.
    pub(super) fn all(config: &crate::Config) -> Result<Vec<Link>, Error> {
        let nodes = config.named_nodes().map_err(|error| Error::Settings(error.to_string()))?;
        let mut links = Vec::new();
        for node in nodes {
            let url = node.url.expose();
            let address = Address::parse(url).map_err(|why| Error::Settings(format!("{}: {why}", node.name)))?;
            let host = match &address.host {
                tokio_postgres::config::Host::Tcp(host) => host.clone(),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            };
            links.push(Link::new(&node.name, url, Place { host, port: address.port }, config.supervise.lease));
        }
        Ok(links)
    }

    pub(super) fn has_voted(&self) -> bool {
        self.voted
    }

    pub(super) fn misses(&self) -> u32 {
        self.misses
    }

    /// Asks it what it is, connecting first if need be, and for its vote if `campaign`.
    pub(super) async fn look(&mut self, patience: Duration, campaign: bool) {
        let now = Instant::now();
        let answer = timeout(patience, self.ask_all(campaign)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.silent(patience, "what it is")));
        match answer {
            Ok(seen) => {
                (self.misses, self.lost_since) = (0, None);
                let idle = seen.standby && !seen.streams();
                self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
                self.seen = Some(seen);
            }
            Err(error) => {
                self.close();
                self.misses = self.misses.saturating_add(1);
                self.lost_since.get_or_insert(now);
                self.seen = None;
                self.trouble = error.to_string();
            }
        }
    }

    /// Ends the session, and with it the vote.
    pub(super) fn close(&mut self) {
        (self.session, self.voted) = (None, false);
    }

    /// Forgets it while somebody works on it.
    pub(super) fn leave(&mut self) {
        self.close();
        (self.seen, self.misses, self.lost_since, self.idle_since) = (None, u32::MAX, None, None);
        self.trouble = "its agent is at work on it".to_owned();
    }

    pub(super) fn sight(&self, agent: bool) -> Sight {
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.elapsed());
        Sight {
            name: self.name.clone(),
            place: self.place.clone(),
            misses: self.misses,
            lost_for: since(self.lost_since),
            idle_for: since(self.idle_since),
            voted: self.voted,
            agent,
            seen: self.seen.clone(),
        }
    }

    async fn ask_all(&mut self, campaign: bool) -> Result<Seen, Error> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.close();
            let session = session_on(&self.url, Some("postgres"), APPLICATION).await;
            self.session = Some(session.map_err(|error| self.refused(&error.to_string()))?);
            // A coordinator that freezes loses its vote; nothing else ends or holds up what it asks.
            self.rows(&format!("SET idle_session_timeout = {}", self.lease.as_millis())).await?;
            self.rows("SET statement_timeout = 0").await?;
            self.rows("SET synchronous_commit = local").await?;
        }
        if campaign && !self.voted {
            self.voted = self.one(&format!("SELECT pg_try_advisory_lock({VOTE})")).await?.as_deref() == Some("t");
        }
        let rows = self.rows(SQL).await?;
        let row = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => read(row),
            _ => None,
        });
        row.ok_or_else(|| self.refused("it does not say what it is"))
    }

    /// Gives the vote back, so that another coordinator can have a majority.
    pub(super) async fn stand_down(&mut self, patience: Duration) {
        if self.voted {
            let given = self.run(&format!("SELECT pg_advisory_unlock({VOTE})"), patience, "the vote").await;
            self.voted = false;
            if given.is_err() {
                self.close();
            }
        }
    }

    /// Keeps the session from being ended for idleness; whether it lives.
    pub(super) async fn keep(&self, patience: Duration) -> bool {
        self.session.is_some() && self.run("SELECT 1", patience, "a sign of life").await.is_ok()
    }

    /// A session that holds no vote.
    pub(super) async fn another_session(&self) -> Result<Session, Error> {
        let session = session_on(&self.url, Some("postgres"), APPLICATION).await;
        session.map_err(|error| self.refused(&error.to_string()))
    }

    /// Runs a statement on the session that holds the vote, or not at all.
    pub(super) async fn run(
        &self,
        sql: &str,
        patience: Duration,
        doing: &'static str,
    ) -> Result<Option<String>, Error> {
        timeout(patience, self.one(sql)).await.unwrap_or_else(|_| Err(self.silent(patience, doing)))
    }

    /// Changes settings with `ALTER SYSTEM` and waits until the server has read them.
    pub(super) async fn set(&self, settings: &[(&str, &str)], patience: Duration) -> Result<(), Error> {
        for (name, value) in settings {
            let value = value.replace('\'', "''");
            self.run(&format!("ALTER SYSTEM SET {name} = '{value}'"), patience, "a setting").await?;
        }
        self.run("SELECT pg_reload_conf()", patience, "a reload").await?;
        let give_up = Instant::now() + patience;
        for (name, value) in settings {
            let value = value.replace('\'', "''");
            let same = format!("SELECT setting = '{value}' FROM pg_settings WHERE name = '{name}'");
            while self.run(&same, patience, "a setting").await?.as_deref() != Some("t") {
                if Instant::now() > give_up {
                    return Err(self.refused(&format!(
                        "it does not take {name} from ALTER SYSTEM: is it set on the server's command line?"
                    )));
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    async fn one(&self, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.rows(sql).await?;
        Ok(rows.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        let session = self.session.as_ref().ok_or_else(|| self.refused("the session with its vote is gone"))?;
        session.client.simple_query(sql).await.map_err(|error| match error.as_db_error() {
            Some(db) => self.refused(&format!("{} (SQLSTATE {})", db.message(), db.code().code())),
            None => self.refused(&error.to_string()),
        })
    }

    pub(super) fn refused(&self, message: &str) -> Error {
        Error::Refused { node: self.name.clone(), message: message.to_owned() }
    }

    fn silent(&self, waited: Duration, doing: &'static str) -> Error {
        Error::Silent { node: self.name.clone(), waited, doing }
    }
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
