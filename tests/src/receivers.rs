//! Receivers of alerts on loopback: a web server and a mail server that keep what they get.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    Takes,
    /// Refuses it with this status, and repeats the address and the body, as a careless one may.
    Refuses(u16),
    /// Never answers.
    Hangs,
}

/// A request that was taken.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Request {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

#[derive(Debug)]
struct Desk {
    mood: Mutex<Mood>,
    taken: Mutex<Vec<Request>>,
    asked: Mutex<usize>,
}

/// A web server.
#[derive(Debug)]
pub struct Sink {
    port: u16,
    desk: Arc<Desk>,
    server: JoinHandle<()>,
}

impl Sink {
    /// A server on a free port that takes everything.
    pub async fn start() -> Sink {
        Sink::on(0).await
    }

    /// The same on this port.
    pub async fn on(port: u16) -> Sink {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let port = listener.local_addr().expect("an address").port();
        let desk = Arc::new(Desk { mood: Mutex::new(Mood::Takes), taken: Mutex::default(), asked: Mutex::default() });
        let router = Router::new().fallback(take).with_state(desk.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Sink { port, desk, server }
    }

    /// Its address with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on it does this.
    pub fn set(&self, mood: Mood) {
        *self.desk.mood.lock() = mood;
    }

    /// How many requests came, taken or not.
    pub fn asked(&self) -> usize {
        *self.desk.asked.lock()
    }

    /// Everything that was taken.
    pub fn taken(&self) -> Vec<Request> {
        self.desk.taken.lock().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(desk): State<Arc<Desk>>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    *desk.asked.lock() += 1;
    let mood = *desk.mood.lock();
    match mood {
        Mood::Takes => {
            desk.taken.lock().push(Request { headers, body: body.to_vec() });
            (StatusCode::OK, "ok".into())
        }
        Mood::Refuses(status) => {
            let text =
                format!("http://{}{uri} {}", headers["host"].to_str().unwrap_or(""), String::from_utf8_lossy(&body));
            (StatusCode::from_u16(status).expect("a status"), text)
        }
        Mood::Hangs => std::future::pending().await,
    }
}

/// A mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Who logged in, as `\0user\0password` in base64; empty without login.
    pub login: String,
    /// The envelope's receivers.
    pub to: Vec<String>,
    /// Headers and text.
    pub text: String,
}

/// A mail server that understands as much of RFC 5321 as a client needs.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    mails: Arc<Mutex<Vec<Mail>>>,
    server: JoinHandle<()>,
}

impl MailServer {
    /// A server on a free port.
    pub async fn start() -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mails: Arc<Mutex<Vec<Mail>>> = Arc::default();
        let sink = mails.clone();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, sink.clone()));
            }
        });
        MailServer { port, mails, server }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every mail so far.
    pub fn mails(&self) -> Vec<Mail> {
        self.mails.lock().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn converse(stream: TcpStream, mails: Arc<Mutex<Vec<Mail>>>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 localhost ready\r\n").await?;
    let mut mail = Mail { login: String::new(), to: Vec::new(), text: String::new() };
    while let Some(line) = lines.next_line().await? {
        let (verb, rest) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let answer = match verb.to_uppercase().as_str() {
            "EHLO" => "250-localhost\r\n250 AUTH PLAIN\r\n",
            "AUTH" => {
                mail.login = rest.trim_start_matches("PLAIN ").into();
                "235 welcome\r\n"
            }
            "RCPT" => {
                mail.to.push(rest.trim_start_matches("TO:").trim_matches(['<', '>']).into());
                "250 ok\r\n"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    mail.text.push_str(&line);
                    mail.text.push('\n');
                }
                mails.lock().push(mail.clone());
                (mail.to, mail.text) = (Vec::new(), String::new());
                "250 queued\r\n"
            }
            "QUIT" => "221 bye\r\n",
            _ => "250 ok\r\n",
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
