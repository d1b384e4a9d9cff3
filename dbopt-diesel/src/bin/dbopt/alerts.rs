//! `dbopt alerts`: try out the channels, look at what is wrong.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use comfy_table::{Cell, Color};
use dbopt_diesel::Config;
use dbopt_diesel::core::alert::{Trial, prometheus, send_test};
use owo_colors::OwoColorize;
use reqwest::Client;
use serde::Deserialize;

use crate::Outcome;
use crate::term::{self, wants_colour};

#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send a test alert through each configured channel, and tell what its receiver answered
    ///
    /// The channels are those of dbopt.toml and the DBOPT_ALERTS_* variables. PagerDuty opens an incident and closes it at once.
    Test {
        /// This channel only: email, slack, pagerduty or webhook; may be repeated
        #[arg(long, value_name = "NAME")]
        channel: Vec<String>,
    },
    /// Print the same alerts as rules for Prometheus, with the limits of dbopt.toml and the DBOPT_ALERTS_* variables
    ///
    /// `dbopt alerts rules > rules.yml`, and name the file under rule_files in prometheus.yml. Prometheus 2.42 or newer.
    Rules {
        /// The job_name of the application's targets: rules for these only. Needed where two applications have different limits
        #[arg(long, value_name = "NAME")]
        job: Option<String>,
    },
    /// Show the alerts of a running application
    List {
        /// Its status, such as `http://127.0.0.1:8080/metrics/json`
        #[arg(value_name = "URL")]
        url: String,
    },
}

pub(crate) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Test { channel } => test(&channel).await,
        Command::Rules { job } => {
            print!("{}", prometheus::rules(&checked(Config::load()?)?.alerts, job.as_deref()));
            Ok(ExitCode::SUCCESS)
        }
        Command::List { url } => list(&url).await,
    }
}

/// What cannot be judged cannot be printed either.
fn checked(config: Config) -> Result<Config, String> {
    let problems = config.alerts.problems();
    if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
}

async fn test(only: &[String]) -> Outcome {
    let config = Config::load()?;
    if config.alerts.channels().is_empty() && only.is_empty() {
        return Err("no channel is configured: write [alerts.email], [alerts.slack], [alerts.pagerduty] or \
                    [alerts.webhook] in dbopt.toml, or set the DBOPT_ALERTS_* variables"
            .into());
    }
    let spinner = term::spinner("sending a test alert");
    let trials = send_test(&config.alerts, only).await.map_err(|problems| problems.join("\n"));
    spinner.finish_and_clear();
    let trials = trials?;
    for trial in &trials {
        println!("{}", line(trial, wants_colour(&std::io::stdout())));
    }
    Ok(if trials.iter().all(|trial| trial.result.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `slack      taken   0.21 s  200 OK ok`.
fn line(trial: &Trial, colour: bool) -> String {
    let (word, answer) = match &trial.result {
        Ok(answer) => ("taken ", answer),
        Err(why) => ("FAILED", why),
    };
    let word = match (colour, trial.result.is_ok()) {
        (true, true) => word.green().bold().to_string(),
        (true, false) => word.red().bold().to_string(),
        (false, _) => word.to_owned(),
    };
    format!("{:<10} {word} {:>5.2} s  {answer}", trial.channel, trial.took.as_secs_f64())
}

/// As much of a status as is shown here.
#[derive(Deserialize)]
struct Status {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    rule: String,
    #[serde(default)]
    subject: Option<String>,
    severity: String,
    for_seconds: f64,
    summary: String,
}

async fn list(url: &str) -> Outcome {
    let client = Client::builder().timeout(Duration::from_secs(10)).build()?;
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let text = answer.map_err(|error| format!("{url}: {error}"))?.text().await?;
    let status: Status = serde_json::from_str(&text)
        .map_err(|_| format!("{url} is no status of dbopt: write the address of its /metrics/json"))?;
    if status.alerts.is_empty() {
        let well = "nothing is wrong";
        println!("{}", if wants_colour(&std::io::stdout()) { well.green().to_string() } else { well.to_owned() });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = term::table();
    table.set_header(["severity", "rule", "of", "for", "what"]);
    for alert in &status.alerts {
        let colour = match alert.severity.as_str() {
            "critical" | "error" => Color::Red,
            "warning" => Color::Yellow,
            _ => Color::Blue,
        };
        table.add_row([
            Cell::new(&alert.severity).fg(colour),
            Cell::new(&alert.rule),
            Cell::new(alert.subject.as_deref().unwrap_or("")),
            Cell::new(format!("{:.0} s", alert.for_seconds)),
            Cell::new(&alert.summary),
        ]);
    }
    println!("{}", term::lines(&table));
    Ok(ExitCode::SUCCESS)
}
