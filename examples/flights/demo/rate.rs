//! `demo load`: requests at a rate, and how long they took.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use comfy_table::{CellAlignment, Table, presets};
use flights::open_loop::{self, Live, Pacer, Schedule, Tally};
use flights::requests::Mix;
use hdrhistogram::Histogram;
use reqwest::{Client, Url};
use serde_json::{Value, json};

use crate::steps::{Steps, bar};

/// Requests at a rate, whether or not earlier ones are answered. A latency is counted from the moment its request was to be sent, so that a
/// standstill of the service counts for everyone who would have waited.
#[derive(clap::Args)]
pub(crate) struct Load {
    /// Where a `flights` service listens. Without it a cluster and a service are started, and ended afterwards.
    #[arg(long)]
    url: Option<Url>,
    /// Requests in a second.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// For how long, such as 30s or 5m.
    #[arg(long = "for", default_value = "30s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// Connections to the service: as many requests may be under way at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How many of 100 requests write.
    #[arg(long, default_value_t = 10)]
    writes: u32,
    /// Write the figures to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const QUANTILES: [(&str, f64); 7] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

pub(crate) async fn run(load: &Load) -> anyhow::Result<ExitCode> {
    ensure!(
        load.rate > 0.0 && load.rate <= 1e6,
        "--rate {} is none: write requests in a second, such as 500",
        load.rate
    );
    ensure!(
        load.connections > 0,
        "--connections 0 sends nothing: write how many requests may be under way, such as 64"
    );
    ensure!(load.writes <= 100, "--writes {} is no share of 100 requests", load.writes);
    ensure!(load.schedule().requests() > 0, "--for {:?} is too short for a request", load.length);
    let tally = match &load.url {
        // An address is where the service's paths begin.
        Some(url) => drive(load, &format!("{}/", url.as_str().trim_end_matches('/')).parse()?).await?,
        None => {
            let steps = Steps::new();
            let (cluster, server) = crate::stage(None, &steps).await?;
            let tally = drive(load, &server.service).await?;
            server.stop().await;
            cluster.stop().await?;
            tally
        }
    };
    print!("{}", table(load, &tally));
    if let Some(file) = &load.json {
        let text = serde_json::to_string_pretty(&figures(load, &tally))?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(if tally.errors + tally.unsent == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Load {
    fn schedule(&self) -> Schedule {
        Schedule { rate: self.rate, length: self.length }
    }
}

/// Sends everything, and tells meanwhile how it goes.
async fn drive(load: &Load, base: &Url) -> anyhow::Result<Tally> {
    let client = Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(load.connections).build()?;
    let mix = Arc::new(Mix::new(client, base.clone(), load.writes).await?);
    let live = Arc::new(Live::default());
    let progress = bar("load {bar:40} {elapsed}  {msg}");
    progress.set_length(load.schedule().requests());
    let ticking = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        let mut before = 0;
        loop {
            ticks.tick().await;
            let [due, answered, errors] = [&live.due, &live.answered, &live.errors].map(|n| n.load(Relaxed));
            progress.set_position(answered);
            let rate = (answered - before) * 5;
            before = answered;
            let waiting = due.saturating_sub(answered);
            progress.set_message(format!("{rate} answers/s, {waiting} waiting, {errors} errors"));
        }
    };
    let send = move |number| {
        let mix = mix.clone();
        async move { mix.send(number).await }
    };
    let sending = open_loop::run(load.schedule(), load.connections, Pacer::Thread, live.clone(), send);
    let tally = tokio::select! {
        tally = sending => tally?,
        () = ticking => unreachable!("it ticks for ever"),
    };
    progress.finish_and_clear();
    Ok(tally)
}

fn table(load: &Load, tally: &Tally) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["of all requests", "from when it was to be sent", "from when it was sent"]);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let milliseconds = |micros: u64| format!("{:.2} ms", micros as f64 / 1e3);
    for (name, quantile) in QUANTILES {
        let both = [&tally.corrected, &tally.service].map(|times| milliseconds(times.value_at_quantile(quantile)));
        table.add_row([name.to_owned()].iter().chain(&both));
    }
    let samples: String = tally.error_samples.iter().map(|sample| format!("  {sample}\n")).collect();
    format!(
        "\n{} requests, {} in a second for {}, over {} connections: {} failed, {} were never sent\n{table}\n{samples}",
        tally.corrected.len(),
        load.rate,
        humantime::format_duration(load.length),
        load.connections,
        tally.errors,
        tally.unsent,
    )
}

fn figures(load: &Load, tally: &Tally) -> Value {
    let quantiles = |times: &Histogram<u64>| -> Value {
        QUANTILES.iter().map(|(name, quantile)| (name.to_string(), json!(times.value_at_quantile(*quantile)))).collect()
    };
    json!({
        "rate": load.rate,
        "seconds": load.length.as_secs_f64(),
        "connections": load.connections,
        "writes_percent": load.writes,
        "requests": tally.corrected.len(),
        "errors": tally.errors,
        "unsent": tally.unsent,
        "corrected_us": quantiles(&tally.corrected),
        "service_us": quantiles(&tally.service),
    })
}
