//! `dbopt migrate validate`.

use std::fs;
use std::process::ExitCode;

use clap::Args as ClapArgs;
use comfy_table::{Cell, Color};
use dbopt_diesel::migrate::{Statements, Trial, Validation};

use super::progress::Progress;
use super::settings::Settings;
use super::show::{Paint, paint};
use crate::Outcome;
use crate::term;

#[derive(ClapArgs)]
pub(super) struct ValidateArgs {
    /// The server for the scratch database, instead of the primary
    #[arg(long, value_name = "URL")]
    staging: Option<String>,
    /// All migrations, not just those that the database has not seen
    #[arg(long)]
    all: bool,
    /// A file of statements that your application runs, with semicolons between them; `pg_stat_statements` takes those that the server has
    /// counted; may be repeated
    #[arg(long, value_name = "FILE")]
    statements: Vec<String>,
    /// Where the receipt goes, instead of schema.receipt
    #[arg(long, value_name = "FILE")]
    receipt: Option<String>,
}

pub(super) async fn run(settings: &Settings, args: ValidateArgs) -> Outcome {
    let settings = settings.or_on(args.staging.as_ref());
    let (migrator, receipt) = {
        let config = settings.config()?;
        let (migrator, _) = settings.migrator(None)?;
        (migrator, args.receipt.unwrap_or(config.schema.receipt))
    };
    let counted = args.statements.iter().any(|file| file == "pg_stat_statements");
    let mut text = String::new();
    for file in args.statements.iter().filter(|file| *file != "pg_stat_statements") {
        text.push_str(&fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?);
        text.push_str(";\n");
    }
    let statements = Statements::from_text(&text)?;
    let trial = Trial { staging: args.staging, all: args.all, statements, counted_statements: counted };
    let progress = Progress::new("making a scratch database");
    let migrator = migrator.watched(progress.watch());
    let done = migrator.validate(&trial).await;
    progress.end();
    let validation = done?;
    println!("{}", show(&validation));
    let Some(made) = &validation.receipt else { return Ok(ExitCode::FAILURE) };
    if validation.tried.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    fs::write(&receipt, serde_json::to_string_pretty(made)?).map_err(|error| format!("{receipt}: {error}"))?;
    println!("receipt {} for PostgreSQL {} in {receipt}", made.id, made.server_major);
    Ok(ExitCode::SUCCESS)
}

fn show(validation: &Validation) -> String {
    let mut text = String::new();
    if !validation.trace.is_empty() {
        text.push_str(&trace(validation));
        text.push('\n');
    }
    for problem in &validation.problems {
        text.push_str(&format!("{}\n", paint(problem, Paint::Bad)));
    }
    let tried = validation.tried.len();
    let statements = match validation.statements {
        0 => "no statements of the application were given (--statements)".to_owned(),
        n => format!("{n} statements of the application prepared"),
    };
    let done = format!("{tried} forward, back and forward again; {statements}");
    text.push_str(&match (validation.problems.len(), tried) {
        (0, 0) => paint("nothing new to validate", Paint::Good),
        (0, _) => paint(&done, Paint::Good),
        (n, _) => paint(&format!("{done}; {n} against it, so there is no receipt"), Paint::Bad),
    });
    text
}

/// What a statement locks of what was there before.
fn trace(validation: &Validation) -> String {
    let mut table = term::table();
    table.set_header(["statement", "locks until the end", "keeps out", "writes anew"]);
    for traced in &validation.trace {
        let (out, colour) = match (traced.blocks_reads, traced.blocks_writes) {
            (true, _) => ("everybody", Color::Red),
            (false, true) => ("writers", Color::Yellow),
            (false, false) => ("", Color::Green),
        };
        let rewritten: Vec<String> = traced
            .rewritten
            .iter()
            .map(|name| match validation.rows.get(name) {
                Some(rows) if *rows > 0 => format!("{name} (about {rows} rows)"),
                _ => name.clone(),
            })
            .collect();
        let short: String = traced.summary.chars().take(48).collect();
        table.add_row([
            Cell::new(format!("{}:{}\n{short}", traced.file.split('_').next().unwrap_or_default(), traced.line)),
            Cell::new(traced.locks.join("\n")),
            Cell::new(out).fg(colour),
            Cell::new(rewritten.join("\n")).fg(Color::Red),
        ]);
    }
    term::lines(&table)
}
