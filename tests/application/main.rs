//! A long history of migrations: each gets its way back, which is proved, and all of them go forward, back and forward.
//!
//! `cargo run --release -p dbopt-tests --bin application -- --count 400` tells what does not hold and how long it took; the tests run a shorter
//! form. `--write FOLDER` keeps the migrations, for `dbopt migrate --folder FOLDER`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use dbopt_diesel::migrate::{Back, Event, Forward};
use dbopt_tests::application::{application, folder};
use dbopt_tests::migrations::{server, value};
use tokio::time::Instant;

/// Proves the ways back of a long history of migrations.
#[derive(Debug, Parser)]
struct Options {
    /// How many.
    #[arg(long, default_value_t = 400)]
    count: usize,
    /// Where they are written to, their ways back included.
    #[arg(long)]
    write: Option<PathBuf>,
}

fn told(what: &str, count: usize, begun: Instant) {
    let took = begun.elapsed();
    println!("{what}: {:.1} s, {:.1} ms each", took.as_secs_f64(), took.as_secs_f64() * 1e3 / count.max(1) as f64);
}

#[tokio::main]
async fn main() -> Result<()> {
    let Options { count, write } = Options::parse();
    let (cluster, config) = server().await;
    cluster.primary().execute("CREATE ROLE reader").await?;
    let folder = folder(count);
    let begun = Instant::now();
    let watched = folder.migrator(&config).watched(|event| {
        if let Event::Unproved { name, wrong } = event {
            println!("{name}\n  {}", wrong.join("\n  "));
        }
    });
    let derived = watched.derive_downs(&[], None).await?;
    told("derived and proved", derived.len(), begun);
    ensure!(derived.len() == count, "{} of {count}", derived.len());
    for down in &derived {
        down.write(folder.path())?;
    }
    if let Some(to) = write {
        for change in application(count) {
            let to = to.join(&change.name);
            std::fs::create_dir_all(&to)?;
            for file in std::fs::read_dir(folder.path().join(&change.name))? {
                let file = file?;
                std::fs::copy(file.path(), to.join(file.file_name()))?;
            }
        }
    }
    let wrong: Vec<_> = derived.iter().filter(|down| !down.wrong.is_empty()).collect();
    for down in &wrong {
        println!("{}\n{}\n{}\n  {}\n", down.migration.name, down.migration.up, down.sql, down.wrong.join("\n  "));
    }
    ensure!(wrong.is_empty(), "{} of {count} ways back do not lead back", wrong.len());
    let migrator = folder.migrator(&config);
    for (what, back) in [("forward", false), ("back", true), ("forward again", false)] {
        let begun = Instant::now();
        let ran = if back {
            let all = Back { steps: Some(count), accept_data_loss: true, ..Back::default() };
            migrator.down(&all).await?.ran.len()
        } else {
            migrator.up(&Forward::default()).await?.ran.len()
        };
        told(what, ran, begun);
        ensure!(ran == count, "{ran} of {count} went {what}");
        let left = "SELECT count(*)::text FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p') AND relname !~ '^__' \
                    AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'billing'))";
        println!("  tables and views: {}", value(&cluster, left).await);
    }
    let begun = Instant::now();
    let status = migrator.status().await?;
    told("status", 1, begun);
    ensure!(status.plan.pending().next().is_none() && status.plan.drift.is_empty(), "not all is applied");
    Ok(())
}
