//! The folder of a new migration.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use super::settings::Settings;
use crate::Outcome;

pub(super) fn run(settings: &Settings, name: &str, alone: bool) -> Outcome {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        return Err(format!("`{name}` is no name: write letters, digits and _, such as add_seats").into());
    }
    let folder = settings.folder(&settings.config()?);
    let dir = folder.join(format!("{}_{name}", stamp()?));
    fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let up = if alone {
        fs::write(
            dir.join("metadata.toml"),
            "# Its statement cannot run in a transaction.\nrun_in_transaction = false\n",
        )?;
        "-- One statement, such as:\n-- CREATE INDEX CONCURRENTLY seats_flight ON seats (flight_id);\n"
    } else {
        "-- Your SQL here. `dbopt migrate lint` tells what would hold others up.\n"
    };
    fs::write(dir.join("up.sql"), up)?;
    println!("{}", dir.join("up.sql").display());
    eprintln!("write it, then `dbopt migrate generate-down` derives its down.sql");
    Ok(ExitCode::SUCCESS)
}

/// The time in UTC, as diesel's command writes it: `2026-11-22-101500`.
fn stamp() -> Result<String, Box<dyn std::error::Error>> {
    // A name for people, made once on the developer's machine: no decision rests on it.
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(date(now))
}

/// Days to a date: the civil calendar, counted from the first of March so that leap days come last.
fn date(since: Duration) -> String {
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01-000000"),
            (951_782_399, "2000-02-28-235959"),
            (951_782_400, "2000-02-29-000000"),
            (1_709_251_199, "2024-02-29-235959"),
            (1_795_300_000, "2026-11-21-230640"),
        ] {
            assert_eq!(date(Duration::from_secs(seconds)), text);
        }
    }
}
