//! `dbopt alerts` with receivers that take a message, refuse it and are not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

async fn dbopt(variables: &[(&str, &str)], arguments: &[&str]) -> (bool, String, String) {
    let (code, out, err) = command::dbopt(variables, ["alerts"].iter().chain(arguments).copied()).await;
    (code == Some(0), out, err)
}

/// A server whose `/slack` takes, whose `/refuses` refuses, and which has one alert.
async fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = got.clone();
    let take = move |body: String| async move {
        sink.lock().push(body);
        "ok"
    };
    let alert =
        r#"{"alerts":[{"rule":"lag","subject":"db2","severity":"warning","for_seconds":7.2,"summary":"db2 is late"}]}"#;
    let router = Router::new()
        .route("/slack", post(take))
        .route("/refuses", post(|| async { (axum::http::StatusCode::NOT_FOUND, "no such hook") }))
        .route("/wrong", get(move || async move { alert }))
        .route("/well", get(|| async { r#"{"alerts":[]}"# }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, got)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receivers_answer_is_told() {
    let (url, got) = server().await;
    let (slack, webhook) = (format!("{url}/slack"), format!("{url}/refuses"));
    let both = [("DBOPT_ALERTS_SLACK_URL", slack.as_str()), ("DBOPT_ALERTS_WEBHOOK_URL", &webhook)];
    let (ok, out, _) = dbopt(&both, &["test", "--channel", "slack"]).await;
    assert!(
        ok && out.starts_with("slack      taken ") && out.contains("200 OK ok") && out.lines().count() == 1,
        "{out}"
    );
    assert!(got.lock()[0].contains("nothing is wrong"));
    let (ok, out, _) = dbopt(&both, &["test"]).await;
    assert!(!ok && out.contains("webhook    FAILED") && out.contains("404 Not Found no such hook"), "{out}");
    assert!(!out.contains(&url) && out.contains("slack      taken"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_says_what_to_write() {
    let (ok, _, error) = dbopt(&[], &["test"]).await;
    assert!(!ok && error.contains("no channel is configured"), "{error}");
    let (ok, _, error) = dbopt(&[], &["test", "--channel", "sms"]).await;
    assert!(!ok && error.contains("no channel `sms`: write email, slack, pagerduty or webhook"), "{error}");
    let (ok, _, error) = dbopt(&[("DBOPT_ALERTS_SLACK_URL", "hooks.slack.com/T0")], &["test"]).await;
    assert!(!ok && error.contains("alerts.slack.url is no address") && !error.contains("T0"), "{error}");
    let mail = [
        ("DBOPT_ALERTS_EMAIL_HOST", "127.0.0.1"),
        ("DBOPT_ALERTS_EMAIL_PORT", "1"),
        ("DBOPT_ALERTS_EMAIL_FROM", "a@example.com"),
        ("DBOPT_ALERTS_EMAIL_TO", "b@example.com"),
    ];
    let (ok, out, _) = dbopt(&mail, &["test"]).await;
    assert!(!ok && out.contains("email      FAILED") && out.to_lowercase().contains("refused"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_of_a_running_application_are_listed() {
    let (url, _) = server().await;
    let (ok, out, _) = dbopt(&[], &["list", &format!("{url}/wrong")]).await;
    assert!(ok && out.contains("db2 is late") && out.contains("7 s"), "{out}");
    let (ok, out, _) = dbopt(&[], &["list", &format!("{url}/well")]).await;
    assert!(ok && out.contains("nothing is wrong"), "{out}");
}

/// A certificate for `localhost`, and what serves with it.
fn certificate() -> (String, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (made.cert.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Serves every connection to a free port of this host.
async fn serve<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    conversation: impl Fn(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(conversation(stream));
        }
    });
    port
}

/// The web over TLS: it takes everything.
async fn web(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let _ = stream.read(&mut [0; 4096]).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    stream.shutdown().await
}

/// A mail server that begins TLS when asked to, and takes mail only then.
async fn mail(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut plain = BufReader::new(stream);
    plain.write_all(b"220 localhost\r\n").await?;
    let mut line = String::new();
    while !line.starts_with("STARTTLS") {
        line.clear();
        if plain.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer: &[u8] = match &line[..4] {
            "EHLO" => b"250-localhost\r\n250 STARTTLS\r\n",
            "STAR" => b"220 go on\r\n",
            _ => b"530 not in clear\r\n",
        };
        plain.write_all(answer).await?;
    }
    let mut secure = BufReader::new(acceptor.accept(plain.into_inner()).await?);
    let mut in_data = false;
    loop {
        line.clear();
        if secure.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        in_data &= line != ".\r\n";
        if in_data {
            continue;
        }
        in_data = line.starts_with("DATA");
        secure.write_all(if in_data { b"354 go on\r\n" } else { b"250 taken over TLS\r\n" }).await?;
    }
}

/// The system's certificates decide, for the web and for mail, and nothing is sent to whom they do not know.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_reached_over_tls_and_strangers_are_not() {
    let (pem, acceptor) = certificate();
    let file = std::env::temp_dir().join(format!("dbopt-alerts-{}.pem", std::process::id()));
    std::fs::write(&file, pem).unwrap();
    let (web_acceptor, mail_acceptor) = (acceptor.clone(), acceptor);
    let web_port = serve(move |stream| web(stream, web_acceptor.clone())).await;
    let mail_port = serve(move |stream| mail(stream, mail_acceptor.clone())).await.to_string();
    let url = format!("https://localhost:{web_port}/hook");
    let mut variables = vec![
        ("DBOPT_ALERTS_WEBHOOK_URL", url.as_str()),
        ("DBOPT_ALERTS_EMAIL_HOST", "localhost"),
        ("DBOPT_ALERTS_EMAIL_PORT", &mail_port),
        ("DBOPT_ALERTS_EMAIL_FROM", "a@example.com"),
        ("DBOPT_ALERTS_EMAIL_TO", "b@example.com"),
    ];
    let (ok, out, _) = dbopt(&variables, &["test"]).await;
    assert!(!ok && out.matches("FAILED").count() == 2 && out.matches("UnknownIssuer").count() == 2, "{out}");
    variables.push(("SSL_CERT_FILE", file.to_str().unwrap()));
    let (ok, out, error) = dbopt(&variables, &["test"]).await;
    assert!(ok && out.contains("taken over TLS") && out.contains("200 OK ok"), "{out}{error}");
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_for_prometheus_follow_the_settings() {
    let (ok, out, error) = dbopt(&[("DBOPT_ALERTS_LAG_FIRE", "9s")], &["rules", "--job", "shop"]).await;
    assert!(ok && out.contains("(dbopt_replication_lag_seconds{job=\"shop\"}) > 9\n"), "{out} {error}");
    let (ok, out, error) = dbopt(&[("DBOPT_ALERTS_LAG_FIRE", "1s")], &["rules"]).await;
    assert!(!ok && out.is_empty() && error.contains("alerts.lag.resolve"), "{error}");
}
