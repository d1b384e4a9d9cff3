//! `dbopt migrate lint`.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use dbopt_diesel::core::schema::lint::{Finding, lint, rules};
use dbopt_diesel::migrate::{Migrations, Migrator};
use serde_json::json;

use super::settings::Settings;
use super::show::{Paint, paint};
use crate::Outcome;

#[derive(ClapArgs)]
pub(super) struct LintArgs {
    /// All migrations, not just those that the database has not seen
    #[arg(long)]
    all: bool,
    /// Show what is allowed by an exception, too
    #[arg(long)]
    allowed: bool,
    /// Show the rules
    #[arg(long)]
    rules: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, args: &LintArgs) -> Outcome {
    if args.rules {
        for rule in rules() {
            println!("{}\n  why:     {}\n  instead: {}", paint(rule.name, Paint::Warning), rule.why, rule.instead);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings.config()?;
    let migrations = Migrations::from_folder(settings.folder(&config))?;
    let applied = if args.all { Vec::new() } else { applied(&config, &migrations).await };
    let found = lint(migrations.list(), |migration| !applied.contains(&migration.version));
    let serious = found.iter().filter(|finding| finding.allowed.is_none()).count();
    if args.json {
        println!("{}", as_json(&found)?);
    } else {
        for finding in found.iter().filter(|finding| args.allowed || finding.allowed.is_none()) {
            println!("{}\n", text(finding));
        }
        println!("{}", summary(serious, found.len() - serious));
    }
    Ok(if serious == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the database has already; without a database everything is looked at.
async fn applied(config: &dbopt_diesel::Config, migrations: &Migrations) -> Vec<String> {
    let status = match Migrator::new(config, migrations.clone()) {
        Ok(migrator) => migrator.status().await,
        Err(error) => Err(error),
    };
    match status {
        Ok(status) => {
            let seen = status.plan.lines.iter().filter(|line| !line.state.is_pending());
            seen.map(|line| line.version.clone()).collect()
        }
        Err(_) => {
            eprintln!("no database to ask what is applied: looking at all migrations");
            Vec::new()
        }
    }
}

pub(super) fn text(finding: &Finding) -> String {
    let Finding { file, line, rule, what, why, instead, allowed } = finding;
    let name = paint(rule, if allowed.is_some() { Paint::Good } else { Paint::Bad });
    let place = format!("{file} line {line}: {what} [{name}]");
    match allowed {
        Some(reason) => format!("{place}\n  allowed: {reason}"),
        None => format!("{place}\n  why:     {why}\n  instead: {instead}"),
    }
}

fn summary(serious: usize, allowed: usize) -> String {
    let exceptions = if allowed == 0 { String::new() } else { format!("; {allowed} allowed by an exception") };
    match serious {
        0 => paint(&format!("nothing dangerous was found{exceptions}"), Paint::Good),
        n => paint(&format!("{n} found{exceptions}; to allow one: -- dbopt: allow(rule) reason"), Paint::Bad),
    }
}

fn as_json(found: &[Finding]) -> serde_json::Result<String> {
    let all: Vec<_> = found
        .iter()
        .map(|f| {
            json!({ "file": f.file, "line": f.line, "rule": f.rule, "what": f.what, "why": f.why, "instead": f.instead, "allowed": f.allowed })
        })
        .collect();
    serde_json::to_string_pretty(&all)
}
