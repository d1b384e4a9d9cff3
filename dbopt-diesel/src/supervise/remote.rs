//! Agents on the servers' own machines, asked over HTTP.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use dbopt_core::failover::Place;
use dbopt_core::secret::Secret;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Error;
use super::agent::{AgentError, NodeAgent, Rejoin, Way};

/// How long an agent may take to be connected to. Its answer comes when the work is done, which may be hours.
const CONNECT: Duration = Duration::from_secs(5);
/// A machine that is gone is noticed after a few of these.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Asks the agents of the servers, each at its URL.
#[derive(Debug)]
pub struct AgentClient {
    urls: BTreeMap<String, String>,
    token: Secret,
    client: Client,
}

impl AgentClient {
    /// The agents of these nodes, with the token that all of them want.
    ///
    /// # Errors
    /// When a URL is none, or there is no token.
    pub fn new(urls: impl IntoIterator<Item = (String, String)>, token: Secret) -> Result<Self, Error> {
        let urls: BTreeMap<String, String> = urls.into_iter().collect();
        for (node, url) in &urls {
            let right = reqwest::Url::parse(url).is_ok_and(|url| url.scheme() == "http" && url.has_host());
            if !right {
                let text =
                    format!("supervise.agents.{node} = {url:?}: write http://host:7432, where `dbopt agent` listens");
                return Err(Error::Settings(text));
            }
        }
        if token.expose().is_empty() {
            return Err(Error::Settings(
                "supervise.agent_token is missing: write the one that the agents were started with".into(),
            ));
        }
        let client = Client::builder().connect_timeout(CONNECT).tcp_keepalive(KEEPALIVE).no_proxy().build();
        let client = client.map_err(|error| Error::Settings(error.to_string()))?;
        Ok(AgentClient { urls, token, client })
    }

    async fn send(&self, order: Rejoin) -> Result<Way, AgentError> {
        let url = self.urls.get(&*order.node).ok_or("it has no agent")?;
        let body = json!({
            "node": &*order.node, "host": order.leader.host, "port": order.leader.port,
            "conninfo": order.conninfo, "slot": order.slot, "fell_behind": order.fell_behind,
        });
        let url = format!("{}/rejoin", url.trim_end_matches('/'));
        let sent =
            self.client.post(&url).bearer_auth(self.token.expose()).header(header::CONTENT_TYPE, "application/json");
        let answer = sent.body(body.to_string()).send().await.map_err(|error| format!("{url}: {error}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{url}: {error}"))?;
        if !status.is_success() {
            return Err(format!("its agent says: {text} ({status})").into());
        }
        Way::named(text.trim()).ok_or_else(|| format!("{url} answers, but is no agent of dbopt").into())
    }
}

impl NodeAgent for AgentClient {
    fn reaches(&self, node: &str) -> bool {
        self.urls.contains_key(node)
    }

    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<Way, AgentError>> + Send + '_>> {
        Box::pin(self.send(order))
    }
}

struct Desk {
    agent: Arc<dyn NodeAgent>,
    token: Secret,
    /// Held while an order is carried out.
    at_work: Arc<Mutex<()>>,
}

type Answer = (StatusCode, String);

/// What an agent answers: `POST /rejoin` with the token as bearer, and `GET /health`.
///
/// An order is carried out to its end also if its sender goes away; a second one meanwhile is answered with 409.
pub fn agent_router(agent: Arc<dyn NodeAgent>, token: Secret) -> Router {
    let desk = Arc::new(Desk { agent, token, at_work: Arc::default() });
    Router::new().route("/rejoin", post(rejoin)).route("/health", get(health)).with_state(desk)
}

async fn health(State(desk): State<Arc<Desk>>) -> Json<Value> {
    Json(json!({ "agent": env!("CARGO_PKG_VERSION"), "at_work": desk.at_work.try_lock().is_err() }))
}

async fn rejoin(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: String) -> Answer {
    if !is_allowed(&headers, desk.token.expose()) {
        return (StatusCode::UNAUTHORIZED, "the token is missing or wrong".into());
    }
    let Some(order) = read(&body) else {
        return (
            StatusCode::BAD_REQUEST,
            "no order: node, host, port, conninfo, slot and fell_behind are needed".into(),
        );
    };
    if !desk.agent.reaches(&order.node) {
        return (StatusCode::NOT_FOUND, format!("this is not the agent of {}", order.node));
    }
    let Ok(working) = desk.at_work.clone().try_lock_owned() else {
        return (StatusCode::CONFLICT, "it is at work already".into());
    };
    let agent = desk.agent.clone();
    let task = tokio::spawn(async move {
        let node = order.node.clone();
        tracing::warn!(%node, leader = %order.leader, "it is made a replica");
        let done = agent.rejoin(order).await;
        match &done {
            Ok(way) => tracing::info!(%node, %way, "it is a replica"),
            Err(error) => tracing::error!(%node, %error, "it could not be made a replica"),
        }
        drop(working);
        done.map_err(|error| error.to_string())
    });
    match task.await {
        Ok(Ok(way)) => (StatusCode::OK, way.to_string()),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn read(body: &str) -> Option<Rejoin> {
    let told: Value = serde_json::from_str(body).ok()?;
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let port = told.get("port")?.as_u64()?.try_into().ok()?;
    Some(Rejoin {
        node: text("node")?.into(),
        leader: Place { host: text("host")?.to_owned(), port },
        conninfo: text("conninfo")?.to_owned(),
        slot: text("slot")?.to_owned(),
        fell_behind: told.get("fell_behind")?.as_bool()?,
    })
}

/// Compared to the end, whatever is wrong: the time tells nothing of the token.
fn is_allowed(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let differs = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    !token.is_empty() && given.len() == token.len() && differs == 0
}
