//! Loads the data set: quickly, as often as you like, and saying what it left out.

mod parse;
mod source;

use std::collections::HashMap;
use std::fmt;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use dbopt_diesel::Conn;
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use indicatif::ProgressBar;

use crate::models::{Airline, Airport, NewFlight, Status};
use crate::schema::{airlines, airports, flights, planes, weather};
use parse::{RawAirport, RawFlight, RawPlane, RawWeather};
pub use source::Source;

/// The moment at which the clock of the example stands when January is loaded: noon in New York on 15 January 2013.
///
/// What left before is history. What leaves later is still scheduled, so that it can be booked, delayed and cancelled.
pub const JANUARY_NOW: DateTime<Utc> = seconds(1_358_269_200);

/// The same for the whole year: noon in New York on 15 December 2013.
pub const YEAR_NOW: DateTime<Utc> = seconds(1_387_126_800);

/// tokio-postgres sends at most 32,767 values with a statement (PostgreSQL would take 65,535); the widest row has 14.
const ROWS_PER_INSERT: usize = i16::MAX as usize / 14;

#[expect(clippy::unwrap_used, reason = "only in constants: the compiler would refuse them")]
const fn seconds(since_1970: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(since_1970, 0).unwrap()
}

/// What happened to each table.
#[derive(Debug, Default, PartialEq)]
pub struct Summary {
    /// In the order of loading.
    pub tables: Vec<Loaded>,
}

/// What happened to one table.
#[derive(Debug, Default, PartialEq)]
pub struct Loaded {
    /// Its name.
    pub table: &'static str,
    /// Rows that are new or have changed.
    pub written: usize,
    /// Rows that were there already.
    pub unchanged: usize,
    /// Lines that make no sense, with the reason.
    pub skipped: Vec<String>,
}

/// Loads everything from `source` as the world looked at `now`.
///
/// Running it again changes nothing. With a later `now` the flights that were still scheduled, and only those, become
/// what they really became.
///
/// # Errors
/// When the source cannot be read or the database refuses; what was written until then stays, and does no harm.
pub async fn load(
    conn: &mut Conn,
    source: &Source,
    now: DateTime<Utc>,
    progress: &ProgressBar,
) -> anyhow::Result<Summary> {
    // Generic code over diesel's batch inserts needs a page of bounds; four uses do not earn it.
    macro_rules! insert {
        ($table:ident, $read:expr) => {{
            let (rows, mut loaded) = $read?;
            for chunk in rows.chunks(ROWS_PER_INSERT) {
                let insert = diesel::insert_into($table::table).values(chunk).on_conflict_do_nothing();
                loaded.count(chunk.len(), insert.execute(conn).await?);
            }
            (rows, loaded)
        }};
    }
    let (_, loaded_airlines) = insert!(airlines, read(source, "airlines", |raw: Airline| Ok(raw)));
    let (rows, loaded_airports) = insert!(airports, read(source, "airports", |raw: RawAirport| Ok(raw.into_airport())));
    let zones = zones(&rows)?;
    let (rows, loaded_planes) = insert!(planes, read(source, "planes", |raw: RawPlane| Ok(raw.into_plane())));
    let seats: HashMap<_, _> = rows.into_iter().map(|plane| (plane.tailnum, plane.seats)).collect();
    let (_, loaded_weather) = insert!(weather, read(source, "weather", |raw: RawWeather| Ok(raw.into_weather())));

    let (rows, mut loaded_flights) = read(source, "flights", |raw: RawFlight| raw.into_flight(now, &zones, &seats))?;
    progress.set_length(rows.len() as u64);
    for chunk in rows.chunks(ROWS_PER_INSERT) {
        loaded_flights.count(chunk.len(), write_flights(conn, chunk).await?);
        progress.inc(chunk.len() as u64);
    }
    // Without it the planner guesses until autovacuum comes by, a minute later.
    conn.batch_execute("ANALYZE airlines, airports, planes, weather, flights").await?;
    Ok(Summary { tables: vec![loaded_airlines, loaded_airports, loaded_planes, loaded_weather, loaded_flights] })
}

async fn write_flights(conn: &mut Conn, rows: &[NewFlight]) -> QueryResult<usize> {
    // The prelude's `filter` is that of queries; this one is that of DO UPDATE.
    use diesel::query_dsl::methods::FilterDsl as _;

    diesel::insert_into(flights::table)
        .values(rows)
        .on_conflict((flights::carrier, flights::number, flights::sched_dep))
        .do_update()
        .set((
            flights::status.eq(excluded(flights::status)),
            flights::dep.eq(excluded(flights::dep)),
            flights::arr.eq(excluded(flights::arr)),
            flights::dep_delay.eq(excluded(flights::dep_delay)),
            flights::arr_delay.eq(excluded(flights::arr_delay)),
        ))
        // What was booked, delayed or cancelled here is not undone: only the passing of time overrules it.
        .filter(flights::status.eq(Status::Scheduled).and(excluded(flights::status).ne(Status::Scheduled)))
        .execute(conn)
        .await
}

/// Reads one table; a line that makes no sense is kept out, and named.
fn read<R: serde::de::DeserializeOwned, T>(
    source: &Source,
    table: &'static str,
    convert: impl Fn(R) -> Result<T, String>,
) -> anyhow::Result<(Vec<T>, Loaded)> {
    let mut rows = Vec::new();
    let mut loaded = Loaded { table, ..Loaded::default() };
    for part in source.open(table)? {
        for (line, raw) in (2..).zip(csv::Reader::from_reader(part).into_deserialize::<R>()) {
            let row = match raw {
                Ok(raw) => convert(raw),
                Err(error) if error.is_io_error() => return Err(error).with_context(|| format!("cannot read {table}")),
                Err(error) => Err(error.to_string()),
            };
            match row {
                Ok(row) => rows.push(row),
                Err(reason) => loaded.skipped.push(format!("line {line}: {reason}")),
            }
        }
    }
    Ok((rows, loaded))
}

fn zones(airports: &[Airport]) -> anyhow::Result<HashMap<String, Tz>> {
    let known = airports.iter().filter_map(|airport| Some((airport, airport.tzone.as_ref()?)));
    known
        .map(|(airport, name)| {
            let zone =
                name.parse().with_context(|| format!("airport {} has the unknown time zone {name}", airport.faa))?;
            Ok((airport.faa.clone(), zone))
        })
        .collect()
}

impl Loaded {
    fn count(&mut self, read: usize, written: usize) {
        self.written += written;
        self.unchanged += read - written;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Loaded { table, written, unchanged, skipped } in &self.tables {
            writeln!(f, "{table:<9} {written:>7} written {unchanged:>7} unchanged {:>5} skipped", skipped.len())?;
            for reason in skipped.iter().take(3) {
                writeln!(f, "{:>10}{reason}", "")?;
            }
            if skipped.len() > 3 {
                writeln!(f, "{:>10}and {} more", "", skipped.len() - 3)?;
            }
        }
        Ok(())
    }
}
