//! The folder of a new migration.

use std::fs;
use std::process::ExitCode;
use std::time::SystemTime;

use super::settings::Settings;
use crate::Outcome;

pub(super) fn run(settings: &Settings, name: &str, alone: bool) -> Outcome {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(valid) {
        return Err(format!("`{name}` is no name: write letters, digits and _, such as add_seats").into());
    }
    let folder = settings.folder(&settings.config()?);
    // A name for people, made once on the developer's machine: no decision rests on it.
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    let dir = folder.join(format!("{}_{name}", stamp(now)));
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
pub(crate) fn stamp(now: SystemTime) -> String {
    humantime::format_rfc3339_seconds(now).to_string().replace('T', "-").replace([':', 'Z'], "")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_are_written_as_diesel_does() {
        assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(1_795_300_000)), "2026-11-21-222640");
    }
}
