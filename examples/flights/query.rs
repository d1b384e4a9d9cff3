//! What a caller can ask for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize};

use crate::models::{Flight, HOME};

/// A search; everything is optional.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// Leaving from (EWR, JFK, LGA).
    pub origin: Option<String>,
    /// Going to.
    pub dest: Option<String>,
    /// Leaving on this day, in New York.
    pub date: Option<NaiveDate>,
    /// Flown by.
    pub carrier: Option<String>,
    /// At most this many (1 to 200, default 50).
    pub limit: Option<u32>,
    /// Continue after the page that gave this cursor.
    #[serde(default, deserialize_with = "from_str")]
    pub after: Option<Cursor>,
}

impl Search {
    /// Rows of a page.
    pub fn limit(&self) -> i64 {
        i64::from(self.limit.unwrap_or(50).clamp(1, 200))
    }
}

/// The place of one flight in the order of departure.
///
/// A page is found by its place, not by counting the rows before it: page 1,000 costs what page 1 costs, and a flight
/// that appears or disappears between two pages neither repeats nor hides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cursor {
    /// Departure by the timetable.
    pub sched_dep: DateTime<Utc>,
    /// Decides between flights that leave at the same time.
    pub id: i64,
}

impl Cursor {
    /// The place of this flight.
    pub fn at(flight: &Flight) -> Self {
        Cursor { sched_dep: flight.sched_dep, id: flight.id }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.sched_dep.timestamp(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (seconds, id) = text.split_once('.')?;
            let sched_dep = DateTime::from_timestamp(seconds.parse().ok()?, 0)?;
            Some(Cursor { sched_dep, id: id.parse().ok()? })
        };
        parse().ok_or("`after` is not a cursor: pass `next` of the page before, unchanged")
    }
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// In order of departure.
    pub flights: Vec<Flight>,
    /// Pass it as `after` for the next page; `null` on the last one.
    pub next: Option<String>,
}

impl Page {
    /// A page out of one row more than it may hold: that row only says that there is a next page.
    pub fn new(mut flights: Vec<Flight>, limit: i64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(0);
        let more = flights.len() > limit;
        flights.truncate(limit);
        let next = flights.last().filter(|_| more).map(|last| Cursor::at(last).to_string());
        Page { flights, next }
    }
}

/// What delays are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Per airline.
    Carrier,
    /// Per origin.
    Origin,
    /// Per hour of the timetable, in New York.
    Hour,
    /// Per month of the timetable, in New York.
    Month,
}

/// The first and the last moment (exclusive) of a day in New York.
pub fn day(date: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let midnight = |date: NaiveDate| {
        let local = HOME.from_local_datetime(&date.and_hms_opt(0, 0, 0)?).earliest()?;
        Some(local.to_utc())
    };
    Some((midnight(date)?, midnight(date.checked_add_days(Days::new(1))?)?))
}

fn from_str<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_trip_through_a_url() {
        let cursor = Cursor { sched_dep: DateTime::from_timestamp(1_358_254_800, 0).unwrap(), id: 12_345 };
        assert_eq!(cursor.to_string(), "1358254800.12345");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        let before_1970 = Cursor { sched_dep: DateTime::from_timestamp(-1, 0).unwrap(), id: 1 };
        assert_eq!(before_1970.to_string().parse(), Ok(before_1970));
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        for text in
            ["", "1358254800", "1358254800.", ".7", "x.7", "1.7.3", "99999999999999999999.1", "9223372036854775807.1"]
        {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_day_is_as_long_as_new_york_makes_it() {
        let hours = |y, m, d| day(NaiveDate::from_ymd_opt(y, m, d).unwrap()).map(|(from, to)| (to - from).num_hours());
        assert_eq!(hours(2013, 1, 15), Some(24));
        assert_eq!(hours(2013, 3, 10), Some(23));
        assert_eq!(hours(2013, 11, 3), Some(25));
        assert_eq!(day(NaiveDate::MAX), None);
    }

    #[test]
    fn the_limit_is_kept_in_bounds() {
        let limit = |limit| Search { limit, ..Search::default() }.limit();
        assert_eq!((limit(None), limit(Some(0)), limit(Some(10)), limit(Some(5_000))), (50, 1, 10, 200));
    }
}
