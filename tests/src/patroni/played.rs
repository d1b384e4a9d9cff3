//! A web server that says what Patroni would.

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri, Version};
use dbopt_diesel::dev::{Cluster, Node};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::tls::Encrypted;

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET or POST, and the path.
    pub what: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// The version of HTTP.
    pub version: Version,
}

type Deed = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

#[derive(Default)]
struct Words {
    answers: HashMap<String, (u16, String)>,
    deeds: HashMap<String, Deed>,
    hangs: bool,
    hangs_at: Option<String>,
    asked: Vec<Asked>,
}

/// One member's REST API.
pub struct Played {
    scheme: &'static str,
    host: &'static str,
    port: u16,
    words: Arc<Mutex<Words>>,
    server: JoinHandle<()>,
}

impl Played {
    /// A server on a free port that answers 503 to everything.
    pub async fn start() -> Played {
        Played::serve("127.0.0.1", None).await
    }

    /// The same over TLS, at this address, with the certificate of this cluster's servers: for 127.0.0.1 and localhost.
    pub async fn start_encrypted(host: &'static str, like: &Cluster) -> Played {
        let authority = like.ca_certificate().expect("a cluster with TLS");
        Played::serve(host, authority.parent()).await
    }

    async fn serve(host: &'static str, certificate: Option<&Path>) -> Played {
        let listener = TcpListener::bind((host, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let words = Arc::<Mutex<Words>>::default();
        let app = Router::new().fallback(answer).with_state(words.clone());
        let (scheme, server) = match certificate {
            None => ("http", tokio::spawn(async move { drop(axum::serve(listener, app).await) })),
            Some(folder) => {
                let listener = Encrypted::new(listener, folder);
                ("https", tokio::spawn(async move { drop(axum::serve(listener, app).await) }))
            }
        };
        Played { scheme, host, port, words, server }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    /// What it answers to this path from now on.
    pub fn says(&self, path: &str, status: u16, body: impl ToString) {
        self.words.lock().answers.insert(path.into(), (status, body.to_string()));
    }

    /// From now on it knows nobody's word: as without its store.
    pub fn forgets(&self, path: &str) {
        self.words.lock().answers.remove(path);
    }

    /// Whether it takes connections and says nothing.
    pub fn hangs(&self, hangs: bool) {
        self.words.lock().hangs = hangs;
    }

    /// The same for this path alone.
    pub fn hangs_at(&self, path: &str) {
        self.words.lock().hangs_at = Some(path.into());
    }

    /// What is done whenever this path is asked, before the answer.
    pub fn on<F: Future<Output = ()> + Send + 'static>(
        &self,
        path: &str,
        deed: impl Fn() -> F + Send + Sync + 'static,
    ) {
        self.words.lock().deeds.insert(path.into(), Arc::new(move || Box::pin(deed())));
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<Asked> {
        self.words.lock().asked.clone()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(words): State<Arc<Mutex<Words>>>,
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body = String::from_utf8_lossy(&body).into_owned();
    let (found, deed, hangs) = {
        let mut words = words.lock();
        words.asked.push(Asked { what: format!("{method} {}", uri.path()), headers, body, version });
        let hangs = words.hangs || words.hangs_at.as_deref() == Some(uri.path());
        (words.answers.get(uri.path()).cloned(), words.deeds.get(uri.path()).cloned(), hangs)
    };
    if hangs {
        std::future::pending::<()>().await;
    }
    if let Some(deed) = deed {
        deed().await;
    }
    let (status, text) = found.unwrap_or((503, "{}".into()));
    Response::builder().status(status).body(Body::from(text)).expect("an answer")
}

/// The answer to `/cluster` for these nodes, of which one may be the leader; each with the address of its Patroni, where there is one.
pub fn listed(cluster: &Cluster, leader: Option<usize>, apis: &[&Played]) -> Value {
    let member = |(i, node): (usize, &Node)| {
        let mut member = json!({
            "name": node.name(), "role": if leader == Some(i) { "leader" } else { "replica" }, "state": "running", "host": "127.0.0.1",
            "port": node.port(), "timeline": 1, "lag": 0,
        });
        if let Some(api) = apis.get(i) {
            member["api_url"] = format!("{}/patroni", api.url()).into();
        }
        member
    };
    json!({ "members": cluster.nodes().iter().enumerate().map(member).collect::<Vec<_>>(), "scope": "dbopt" })
}

/// The answer to `/patroni` of the node: what its server is now.
pub async fn own(node: &Node) -> Value {
    let text = async |sql: &str| node.query_text(sql).await.expect("an answer").unwrap_or_default();
    let role = if node.is_primary().await.expect("an answer") { "primary" } else { "replica" };
    json!({
        "state": "running", "role": role, "postmaster_start_time": text("SELECT pg_postmaster_start_time()::text").await,
        "database_system_identifier": text("SELECT system_identifier::text FROM pg_control_system()").await,
        "patroni": { "version": "4.1.4", "scope": "dbopt", "name": node.name() },
    })
}
