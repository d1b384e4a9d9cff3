//! `dbopt migrate generate-down`.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use dbopt_diesel::migrate::DerivedDown;

use super::progress::Progress;
use super::settings::Settings;
use super::show::{Paint, paint};
use crate::Outcome;

#[derive(ClapArgs)]
pub(super) struct DownArgs {
    /// These migrations only, also if they have a down.sql, which is written over; without, all that have none
    #[arg(value_name = "VERSION")]
    versions: Vec<String>,
    /// The server for the scratch database, instead of the primary
    #[arg(long, value_name = "URL")]
    staging: Option<String>,
    /// Print the scripts and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(settings: &Settings, args: &DownArgs) -> Outcome {
    let (migrator, folder) = settings.or_on(args.staging.as_ref()).migrator(None)?;
    let progress = Progress::new("making a scratch database");
    let migrator = migrator.watched(progress.watch());
    let derived = migrator.derive_downs(&args.versions, args.staging.as_deref()).await;
    progress.end();
    let derived = derived?;
    if derived.is_empty() {
        println!("{}", paint("every migration has a way back", Paint::Good));
    }
    let mut all_proved = true;
    for down in &derived {
        all_proved &= down.wrong.is_empty();
        if args.dry_run {
            println!("-- {}/down.sql\n{}", down.migration.name, down.sql);
        } else {
            down.write(&folder)?;
            println!("{}", line(down));
        }
    }
    Ok(if all_proved { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(down: &DerivedDown) -> String {
    let (word, how) = match (down.wrong.is_empty(), down.losses.is_empty()) {
        (true, true) => ("proved ", Paint::Good),
        (true, false) => ("lossy  ", Paint::Warning),
        (false, _) => ("UNPROVED", Paint::Bad),
    };
    let lost = if down.losses.is_empty() { String::new() } else { format!(" (loses {})", down.losses.join(", ")) };
    format!("{} {}/down.sql{lost}", paint(word, how), down.migration.name)
}
