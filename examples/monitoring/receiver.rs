//! Where Alertmanager posts to: the place of Slack or PagerDuty on this machine.

use std::net::SocketAddr;

use axum::extract::{Json, Path};
use axum::routing::post;
use axum::{Router, http::StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

/// Listens, and prints what comes if it is `loud`.
pub(crate) async fn start(port: u16, loud: bool) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let take = async move |Path(receiver): Path<String>, Json(message): Json<Value>| {
        for alert in message["alerts"].as_array().into_iter().flatten().filter(|_| loud) {
            println!("{}", line(&receiver, alert));
        }
        StatusCode::OK
    };
    let router = Router::new().route("/{receiver}", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// `on-call  firing    error     DboptNode  replica-2 does not answer`.
fn line(receiver: &str, alert: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = &alert["labels"];
    let [status, severity, name] = [&alert["status"], &labels["severity"], &labels["alertname"]].map(text);
    format!("{receiver:<8} {status:<9} {severity:<9} {name:<16} {}", text(&alert["annotations"]["summary"]))
}
