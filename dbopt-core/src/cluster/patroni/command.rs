//! Orders to Patroni, and its answers, which are plain text.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::answer::{ClusterAnswer, Listed};
use super::ask::{Address, Answer, Http};
use super::config::PatroniConfig;
use crate::backend::Upstream;

/// How long an order may take: Patroni answers when it is done, and gives up by itself before that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Patroni, as its REST API takes orders. They need `user:password@` in the addresses, if its `restapi.authentication` is set.
#[derive(Debug)]
pub struct Patroni {
    http: Http,
    addresses: Vec<Address>,
    limit: Duration,
}

/// A member of Patroni's cluster, as it lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PatroniMember {
    /// Its name.
    pub name: Arc<str>,
    /// Where its server is, by Patroni's word.
    pub server: Option<Upstream>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatroniError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// No member answers.
    #[error("no member of Patroni answers at cluster.patroni.urls: {0}")]
    Silent(String),
    /// Patroni refuses, in its own words.
    #[error("Patroni refuses ({status}): {said}")]
    Refused {
        /// The code of its answer.
        status: u16,
        /// Its words, with what can be done where that is known.
        said: String,
    },
    /// The order was sent, and the answer is missing: look who leads before it is given again.
    #[error("the order was sent, and its outcome is unknown ({0}): look with `dbopt status` or `patronictl list`")]
    Unknown(String),
    /// There is nothing that the order could be about.
    #[error("{0}")]
    Impossible(String),
}

impl Patroni {
    /// Patroni at the addresses of the settings.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(config: &PatroniConfig) -> Result<Self, PatroniError> {
        if config.urls.is_empty() {
            let text = "no address of Patroni: write cluster.patroni.urls = [\"http://user:password@db1:8008\"]";
            return Err(PatroniError::Settings(text.into()));
        }
        let settings = |why| PatroniError::Settings(format!("cluster.patroni.urls: {why}"));
        let addresses = config.urls.iter().map(Address::new).collect::<Result<_, _>>().map_err(settings)?;
        let http = Http::new(&config.sslrootcert).map_err(PatroniError::Settings)?;
        Ok(Patroni { http, addresses, limit: config.timeout })
    }

    /// The member that leads.
    ///
    /// # Errors
    /// When no member answers, or nobody leads.
    pub async fn leader(&self) -> Result<PatroniMember, PatroniError> {
        let (_, listed) = self.list().await?;
        let leader = leader_of(&listed)?;
        Ok(PatroniMember { name: leader.name.clone(), server: leader.place.clone() })
    }

    /// Makes another member the leader: the one called `to`, or the one that Patroni chooses. What it says when it is done.
    ///
    /// # Errors
    /// When no member answers, or Patroni refuses.
    ///
    /// # Cancel safety
    /// An order that was sent is carried out, whether or not anybody waits for it.
    pub async fn switchover(&self, to: Option<&str>) -> Result<String, PatroniError> {
        let (asked, listed) = self.list().await?;
        let leader = leader_of(&listed)?;
        if let Some(to) = to
            && !listed.members.iter().any(|member| *member.name == *to)
        {
            let names: Vec<&str> = listed.members.iter().map(|member| &*member.name).collect();
            let text = format!("`{to}` is none of Patroni's members: write one of {}", names.join(", "));
            return Err(PatroniError::Impossible(text));
        }
        let mut order = json!({ "leader": &*leader.name });
        if let Some(to) = to {
            order["candidate"] = to.into();
        }
        let address = self.nearest_to(leader, asked).await;
        self.order(&address, "/switchover", &order.to_string()).await
    }

    /// Has a replica made anew from the leader: what it has is thrown away. What it says when it begins.
    ///
    /// # Errors
    /// When no member answers, the member is not known, is the leader, or refuses.
    ///
    /// # Cancel safety
    /// An order that was sent is carried out, whether or not anybody waits for it.
    pub async fn reinitialize(&self, name: &str) -> Result<String, PatroniError> {
        let (asked, listed) = self.list().await?;
        let impossible = |text: String| Err(PatroniError::Impossible(text));
        let Some(member) = listed.members.iter().find(|member| *member.name == *name) else {
            let names: Vec<&str> = listed.members.iter().map(|member| &*member.name).collect();
            return impossible(format!("`{name}` is none of Patroni's members: write one of {}", names.join(", ")));
        };
        if listed.leader().is_some_and(|leader| *leader.name == *name) {
            return impossible(format!("`{name}` is the leader: nothing could be copied to it"));
        }
        let Some(own) = Address::of(member) else {
            return impossible(format!("Patroni does not tell where `{name}` listens"));
        };
        // The member itself has to be asked, with the credentials of whoever listed it.
        self.order(&own.with_credentials_of(asked), "/reinitialize", &json!({ "force": true }).to_string()).await
    }

    /// The leader's own address if it answers there, else that of whoever listed it. Only the member that is asked acts at once: the leader
    /// finds another one's order in its next round, up to `loop_wait` later.
    async fn nearest_to(&self, leader: &Listed, asked: &Address) -> Address {
        let Some(own) = Address::of(leader).filter(|own| own.base != asked.base) else { return asked.clone() };
        let known = self.addresses.iter().find(|address| address.base == own.base).cloned();
        let own = known.unwrap_or_else(|| own.with_credentials_of(asked));
        if self.listed_by(&own).await.is_ok() { own } else { asked.clone() }
    }

    async fn list(&self) -> Result<(&Address, ClusterAnswer), PatroniError> {
        let mut last = String::new();
        for address in &self.addresses {
            match self.listed_by(address).await {
                Ok(listed) => return Ok((address, listed)),
                Err(why) => last = format!("{}: {why}", address.base),
            }
        }
        Err(PatroniError::Silent(last))
    }

    /// What the member at an address lists.
    async fn listed_by(&self, address: &Address) -> Result<ClusterAnswer, String> {
        match timeout(self.limit, self.http.get(address, "/cluster")).await {
            Ok(Ok(answer)) => ClusterAnswer::read(&answer.text),
            Ok(Err(why)) => Err(why.why),
            Err(_) => Err(format!("no answer within {:?}", self.limit)),
        }
    }

    async fn order(&self, address: &Address, path: &str, body: &str) -> Result<String, PatroniError> {
        match timeout(PATIENCE, self.http.post(address, path, body)).await {
            Ok(Ok(answer)) => verdict(answer),
            Ok(Err(why)) => Err(PatroniError::Unknown(format!("{}: {why}", address.base))),
            Err(_) => Err(PatroniError::Unknown(format!("{}: no answer within {PATIENCE:?}", address.base))),
        }
    }
}

fn leader_of(listed: &ClusterAnswer) -> Result<&Listed, PatroniError> {
    listed.leader().ok_or_else(|| PatroniError::Impossible("Patroni has no leader that could hand over".into()))
}

/// What an answer to an order means.
fn verdict(Answer { status, text }: Answer) -> Result<String, PatroniError> {
    let said = match text.trim() {
        page if page.starts_with('<') => "a web page".to_owned(),
        said => said.to_owned(),
    };
    let hint = match status {
        200 | 202 => return Ok(said),
        401 | 403 => {
            ": write http://user:password@host:8008 into cluster.patroni.urls, as in its restapi.authentication"
        }
        _ => "",
    };
    Err(PatroniError::Refused { status, said: format!("{said}{hint}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_words_are_passed_on_and_a_page_is_not() {
        let of = |status, text: &str| verdict(Answer { status, text: text.into() }).map_err(|error| error.to_string());
        assert_eq!(
            of(200, "Successfully switched over to \"n2\"\n"),
            Ok("Successfully switched over to \"n2\"".into())
        );
        assert_eq!(of(202, "Switchover scheduled"), Ok("Switchover scheduled".into()));
        assert_eq!(
            of(412, "leader name does not match"),
            Err("Patroni refuses (412): leader name does not match".into())
        );
        assert!(of(401, "no auth header received").unwrap_err().contains("http://user:password@host:8008"));
        assert_eq!(of(400, "<!DOCTYPE HTML>"), Err("Patroni refuses (400): a web page".into()));
    }
}
