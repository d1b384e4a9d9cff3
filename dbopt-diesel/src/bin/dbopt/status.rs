//! `dbopt status`: what a running application knows of its cluster, once or live.

mod live;
mod show;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use reqwest::{Client, StatusCode, Url};

use crate::Outcome;
use view::View;

/// How long an application may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nodes with their roles, states, lag, weights, pools and circuits; limits, cache, alerts and the last events.
///
/// On a terminal it is shown live until `q` is pressed; into a pipe, and with `--once` or `--json`, it is printed once.
/// Exit code 0: reads and writes can be served on every node; 1: no node can serve, or no answer; 2: something is degraded.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The application's admin address, such as `http://127.0.0.1:8080`
    #[arg(value_name = "URL", env = "DBOPT_ADMIN_URL")]
    url: String,
    /// Print it once
    #[arg(long)]
    once: bool,
    /// For programs: the status as the application tells it
    #[arg(long)]
    json: bool,
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time between two looks: write 200ms to 1h, such as 1s");
    let time = humantime::parse_duration(text).map_err(|_| wrong())?;
    if (Duration::from_millis(200)..=Duration::from_secs(3600)).contains(&time) { Ok(time) } else { Err(wrong()) }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let source = Source::new(&args.url)?;
    if args.json {
        let status: serde_json::Value = source.fetch().await?;
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(exit_code(status["health"].as_str().unwrap_or("down")));
    }
    if args.once || !std::io::stdout().is_terminal() {
        let view: View = source.fetch().await?;
        println!("{}", show::everything(source.url(), &view, None));
        return Ok(exit_code(&view.health));
    }
    live::run(&source, args.interval).await?;
    Ok(ExitCode::SUCCESS)
}

fn exit_code(health: &str) -> ExitCode {
    match health {
        "ok" => ExitCode::SUCCESS,
        "degraded" => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// Where the status comes from.
pub(crate) struct Source {
    client: Client,
    url: Url,
    /// The same without a password.
    shown: String,
    token: Option<String>,
}

/// What an application behind a login wants to see: sent as `Authorization: Bearer ..`.
const TOKEN: &str = "DBOPT_ADMIN_TOKEN";

impl Source {
    pub(crate) fn new(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let base = url.trim_end_matches('/').trim_end_matches("/metrics/json").trim_end_matches("/metrics");
        let parsed = Url::parse(&format!("{base}/metrics/json")).ok();
        let Some(url) = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
            let what = if url.contains('@') { "what you wrote".to_owned() } else { format!("`{url}`") };
            return Err(format!(
                "{what} is no address: write it as http://host:port, where the application serves /metrics/json"
            )
            .into());
        };
        let mut shown = url.clone();
        // Both fail for URLs without a host only.
        let _without_login = (shown.set_username(""), shown.set_password(None));
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        Ok(Source { client: Client::builder().timeout(PATIENCE).build()?, url, shown: shown.into(), token })
    }

    /// Where it is, for people.
    pub(crate) fn url(&self) -> &str {
        &self.shown
    }

    pub(crate) async fn fetch<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let url = &self.shown;
        let mut question = self.client.get(self.url.clone());
        if let Some(token) = &self.token {
            question = question.bearer_auth(token);
        }
        let answer = question.send().await.map_err(|error| match error {
            error if error.is_connect() => {
                format!("nobody answers at {url}: is the application running, and is that its admin port?")
            }
            error if error.is_timeout() => format!("{url}: no answer within {PATIENCE:?}"),
            error => format!("{url}: {}", error.without_url()),
        })?;
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "{url} wants a login ({}): put its token into the variable {TOKEN}, or write http://user:password@host:port",
                    answer.status()
                ));
            }
            StatusCode::NOT_FOUND => {
                return Err(format!(
                    "nothing is served at {url} (404): is the admin router below another path? Write that, such as http://host:port/operations/db"
                ));
            }
            status if !status.is_success() => return Err(format!("{url} answers {status}")),
            _ => {}
        }
        let text = answer.text().await.map_err(|error| format!("{url}: {}", error.without_url()))?;
        if text.trim_start().starts_with('<') {
            return Err(format!(
                "{url} answers with a page in place of a status: is that the admin port of the application, or does a proxy ask for a login?"
            ));
        }
        serde_json::from_str(&text).map_err(|error| {
            format!("{url} is no status of dbopt ({error}): is another service there, or another version of dbopt?")
        })
    }
}
