//! Statements with the index that a person would make for each: what advice is measured against (1.3).
//!
//! The statements are in `.sql` files, each below a line that says what is wanted: `none`, or an index; `|` stands between those that are as good, `+`
//! between those that are needed both.

use dbopt_diesel::advise::{Statement, Workload};

/// A database with statements.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// Tables and rows.
    pub setup: &'static [&'static str],
    /// The labelled statements.
    statements: &'static str,
}

/// The flights of the example, with generated rows.
pub const FLIGHTS: Schema = Schema {
    name: "corpus_flights",
    setup: &[
        include_str!("../../../examples/flights/migrations/2026-11-21-000001_flights/up.sql"),
        include_str!("../../../examples/flights/migrations/2026-11-21-000002_bookings/up.sql"),
        include_str!("flights_rows.sql"),
    ],
    statements: include_str!("flights.sql"),
};

/// Makes a year of the real flights and weather of January.
pub const JANUARY_TWELVE_TIMES: &str = include_str!("january_twelve_times.sql");

/// Bookings of the flights that are there.
pub const BOOKINGS: &str = include_str!("bookings.sql");

/// A shop of many tenants, with states of which most rows have one.
pub const SHOP: Schema =
    Schema { name: "corpus_shop", setup: &[include_str!("shop_rows.sql")], statements: include_str!("shop.sql") };

/// A labelled statement.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// Its text.
    pub sql: String,
    /// For each index that is needed, those that would do.
    pub wanted: Vec<Vec<String>>,
}

impl Schema {
    /// Its statements.
    pub fn statements(&self) -> Vec<Labelled> {
        let parts = self.statements.split("-- want: ").skip(1);
        let labelled = parts.map(|part| {
            let (label, sql) = part.split_once('\n').expect("a statement follows its label");
            let alternatives = |one: &str| one.split(" | ").map(|index| index.trim().to_owned()).collect();
            let wanted =
                if label.trim() == "none" { Vec::new() } else { label.split(" + ").map(alternatives).collect() };
            Labelled { sql: sql.trim().trim_end_matches(';').to_owned(), wanted }
        });
        labelled.collect()
    }
}

impl Labelled {
    /// A workload of nothing else.
    pub fn alone(&self) -> Workload {
        workload([self.sql.as_str()])
    }
}

/// Statements that are run all the time.
pub fn workload<'a>(statements: impl IntoIterator<Item = &'a str>) -> Workload {
    let statement = |sql: &str| Statement { sql: sql.to_owned(), calls: 1000.0, total_ms: 1000.0, places: Vec::new() };
    Workload { statements: statements.into_iter().map(statement).collect(), ..Workload::default() }
}
