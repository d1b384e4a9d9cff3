//! `dbopt cache`: what applications keep in Redis, from the command line.

mod primary;
mod remote;
mod show;
mod warm;

use std::process::ExitCode;

use clap::{ArgGroup, Args as ClapArgs, Subcommand};
use dbopt_diesel::Config;
use dbopt_diesel::core::cache::Pattern;

use crate::Outcome;
use remote::Remote;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Redis or Valkey, instead of DBOPT_CACHE_REDIS or cache.redis; a password in it is seen by all users of this machine
    #[arg(long, global = true, value_name = "URL")]
    redis: Option<String>,
    /// The namespace, instead of DBOPT_CACHE_NAMESPACE or cache.namespace
    #[arg(long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show how many results and tags Redis holds
    Stats {
        /// Also name results of this method, such as `Flights::find`
        #[arg(long, value_name = "NAME")]
        method: Option<String>,
        /// How many results to name
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Make results unservable, on all instances: for changes that were made past dbopt
    Invalidate(InvalidateArgs),
    /// Forget everything in the namespace
    Clear,
    /// Fetch pages of a running service, so that it fills its cache
    ///
    /// A tool cannot call a method of your application. It can ask the application: each address is fetched with GET, and the
    /// service caches what it reads to answer. From inside the application, `db.cache().warm(..)` calls the methods themselves.
    Warm(warm::WarmArgs),
}

/// The position of the primary goes with the invalidation where a database is configured (DBOPT_DATABASE_URL or dbopt.toml), so
/// that nothing is read anew from a replica that lacks the change.
#[derive(ClapArgs)]
#[command(group = ArgGroup::new("what").required(true).args(["tag", "pattern"]))]
struct InvalidateArgs {
    /// Results with this tag, such as `flight:7`; may be repeated
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Tags, and keys that methods name themselves, that match, such as `flight:*`; `*` is any text
    #[arg(long, value_name = "PATTERN", conflicts_with = "tag")]
    pattern: Option<String>,
    /// Count what matches the pattern, and change nothing
    #[arg(long, conflicts_with = "tag")]
    dry_run: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    if let Command::Warm(warm) = args.command {
        return warm::run(warm).await;
    }
    let mut config = Config::load()?;
    if let Some(url) = args.redis {
        config.cache.redis = url.as_str().into();
    }
    if let Some(namespace) = args.namespace {
        config.cache.namespace = namespace;
    }
    if let Some(problem) = config.cache.problems().first() {
        return Err(problem.clone().into());
    }
    let remote = Remote::connect(&config.cache).await?;
    let outcome = match args.command {
        Command::Stats { method, limit, json } => stats(&remote, method.as_deref(), limit, json).await,
        Command::Invalidate(what) => invalidate(&remote, &config, what).await,
        Command::Clear => clear(&remote, &config).await,
        Command::Warm(_) => Ok(ExitCode::SUCCESS),
    };
    remote.close().await;
    outcome
}

async fn stats(remote: &Remote, method: Option<&str>, limit: usize, json: bool) -> Outcome {
    let usage = remote.layer.usage().await?;
    let entries = match method {
        Some(method) => Some(remote.layer.entries_of(method, limit).await?),
        None => None,
    };
    let stats = show::Stats {
        redis: remote.place.clone(),
        namespace: remote.namespace.clone(),
        values: usage.values,
        tags: usage.generations,
        server_memory_bytes: usage.server_memory,
        entries,
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
    } else {
        println!("{}", show::stats(&stats));
    }
    Ok(ExitCode::SUCCESS)
}

async fn invalidate(remote: &Remote, config: &Config, what: InvalidateArgs) -> Outcome {
    let InvalidateArgs { tag: tags, pattern, dry_run } = what;
    if tags.iter().chain(&pattern).any(|text| text.trim().is_empty()) {
        return Err(
            "an empty name means nothing: write `--tag flight:7`, `--pattern 'flight:*'`, or `dbopt cache clear`"
                .into(),
        );
    }
    let Some(text) = pattern else {
        let position = primary::position(config).await;
        remote.layer.invalidate(&tags, position, None).await.map_err(remote::not_taken)?;
        println!("{}", show::done("invalidated", tags.len() as u64, ["tag", "tags"], position));
        return Ok(ExitCode::SUCCESS);
    };
    let pattern = Pattern::new(&text);
    let position = if dry_run { None } else { primary::position(config).await };
    let found = remote.layer.invalidate_pattern(&pattern, position, dry_run).await.map_err(remote::not_taken)?;
    let did = if dry_run { "would invalidate" } else { "invalidated" };
    println!("{}", show::done(did, found, ["name that matches", "names that match"], position));
    Ok(ExitCode::SUCCESS)
}

async fn clear(remote: &Remote, config: &Config) -> Outcome {
    let position = primary::position(config).await;
    remote.layer.clear(position).await.map_err(remote::not_taken)?;
    println!("{}", show::cleared(&remote.namespace, position));
    Ok(ExitCode::SUCCESS)
}
