//! The rows, as plain diesel models.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use crate::schema::{airlines, airports, bookings, flights, planes, weather};

/// The time zone of all three origins (EWR, JFK, LGA): a "day" of this service is a day in New York.
pub const HOME: Tz = chrono_tz::America::New_York;

/// Where a flight is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Still to come: can be booked, delayed and cancelled.
    Scheduled,
    /// Left the gate: history.
    Departed,
    /// Will not fly.
    Cancelled,
}

impl Status {
    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Scheduled => "scheduled",
            Status::Departed => "departed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl ToSql<Text, Pg> for Status {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        <str as ToSql<Text, Pg>>::to_sql(self.as_str(), out)
    }
}

impl FromSql<Text, Pg> for Status {
    fn from_sql(value: <Pg as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        match <String as FromSql<Text, Pg>>::from_sql(value)?.as_str() {
            "scheduled" => Ok(Status::Scheduled),
            "departed" => Ok(Status::Departed),
            "cancelled" => Ok(Status::Cancelled),
            other => Err(format!("unknown flight status {other:?}").into()),
        }
    }
}

/// One flight on one day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Identifiable)]
#[diesel(table_name = flights, check_for_backend(Pg))]
pub struct Flight {
    /// Our own number.
    pub id: i64,
    /// Airline, such as `UA`.
    pub carrier: String,
    /// Flight number, without the airline.
    pub number: i32,
    /// EWR, JFK or LGA.
    pub origin: String,
    /// Destination airport.
    pub dest: String,
    /// The plane, when known.
    pub tailnum: Option<String>,
    /// Departure by the timetable.
    pub sched_dep: DateTime<Utc>,
    /// Arrival by the timetable.
    pub sched_arr: DateTime<Utc>,
    /// When it left.
    pub dep: Option<DateTime<Utc>>,
    /// When it arrived; empty while in the air, and for the few that were diverted.
    pub arr: Option<DateTime<Utc>>,
    /// Minutes late at departure: announced while scheduled, measured once departed.
    pub dep_delay: Option<i32>,
    /// Minutes late on arrival.
    pub arr_delay: Option<i32>,
    /// Miles.
    pub distance: i32,
    /// Scheduled, departed or cancelled.
    pub status: Status,
    /// Seats of the plane.
    pub seats_total: i32,
    /// Seats sold.
    pub seats_booked: i32,
}

/// A flight as the loader writes it.
#[derive(Debug, Clone, PartialEq, Insertable)]
// NULL instead of DEFAULT: every row of a batch then has the same shape.
#[diesel(table_name = flights, treat_none_as_default_value = false)]
#[expect(missing_docs, reason = "the columns of Flight")]
pub struct NewFlight {
    pub carrier: String,
    pub number: i32,
    pub origin: String,
    pub dest: String,
    pub tailnum: Option<String>,
    pub sched_dep: DateTime<Utc>,
    pub sched_arr: DateTime<Utc>,
    pub dep: Option<DateTime<Utc>>,
    pub arr: Option<DateTime<Utc>>,
    pub dep_delay: Option<i32>,
    pub arr_delay: Option<i32>,
    pub distance: i32,
    pub status: Status,
    pub seats_total: i32,
}

/// What a delay or a cancellation changes.
#[derive(Debug, Clone, Default, AsChangeset)]
#[diesel(table_name = flights)]
pub struct FlightChange {
    /// The announced delay, in minutes.
    pub dep_delay: Option<i32>,
    /// The delay expected on arrival, in minutes.
    pub arr_delay: Option<i32>,
    /// The new status.
    pub status: Option<Status>,
}

/// An airline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = airlines, check_for_backend(Pg))]
pub struct Airline {
    /// Two characters, such as `UA`.
    pub carrier: String,
    /// Full name.
    pub name: String,
}

/// An airport of the United States.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = airports, check_for_backend(Pg), treat_none_as_default_value = false)]
pub struct Airport {
    /// FAA code, such as `JFK`.
    pub faa: String,
    /// Full name.
    pub name: String,
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lon: f64,
    /// Feet above the sea.
    pub alt: i32,
    /// IANA time zone.
    pub tzone: Option<String>,
}

/// A plane of the FAA registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = planes, check_for_backend(Pg), treat_none_as_default_value = false)]
pub struct Plane {
    /// Tail number.
    pub tailnum: String,
    /// Year of manufacture.
    pub year: Option<i32>,
    /// Such as `BOEING`.
    pub manufacturer: String,
    /// Such as `737-824`.
    pub model: String,
    /// Kind of engine.
    pub engine: String,
    /// Number of engines.
    pub engines: i32,
    /// Number of seats.
    pub seats: i32,
}

/// One hour of weather at an origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = weather, check_for_backend(Pg), treat_none_as_default_value = false)]
pub struct Weather {
    /// EWR, JFK or LGA.
    pub origin: String,
    /// The hour it was measured in.
    pub hour: DateTime<Utc>,
    /// Fahrenheit.
    pub temp: Option<f64>,
    /// Dew point, Fahrenheit.
    pub dewp: Option<f64>,
    /// Relative humidity, percent.
    pub humid: Option<f64>,
    /// Where the wind comes from, degrees.
    pub wind_dir: Option<i32>,
    /// Miles per hour.
    pub wind_speed: Option<f64>,
    /// Miles per hour.
    pub wind_gust: Option<f64>,
    /// Inches.
    pub precip: Option<f64>,
    /// Millibars.
    pub pressure: Option<f64>,
    /// Miles.
    pub visib: Option<f64>,
}

/// A sold seat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable, Selectable, Identifiable, Associations)]
#[diesel(table_name = bookings, belongs_to(Flight), check_for_backend(Pg))]
pub struct Booking {
    /// Our own number.
    pub id: i64,
    /// The flight.
    pub flight_id: i64,
    /// Seat, counted from 1.
    pub seat: i32,
    /// Who flies.
    pub passenger: String,
    /// When it was sold.
    pub created_at: DateTime<Utc>,
}

/// A seat to be sold.
#[derive(Debug, Insertable)]
#[diesel(table_name = bookings)]
pub struct NewBooking<'a> {
    /// The flight.
    pub flight_id: i64,
    /// Seat, counted from 1.
    pub seat: i32,
    /// Who flies.
    pub passenger: &'a str,
}

/// A flight with everything around it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Queryable)]
pub struct FlightDetail {
    /// The flight itself.
    #[serde(flatten)]
    pub flight: Flight,
    /// Who flies it.
    pub airline: Airline,
    /// Where it goes.
    pub destination: Airport,
    /// The plane, when the registry knows it.
    pub plane: Option<Plane>,
    /// The weather at departure, when it was measured.
    pub weather: Option<Weather>,
}

/// What hangs on the wall of an airport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// The airport.
    pub airport: Airport,
    /// Next to leave.
    pub departures: Vec<Flight>,
    /// Next to land.
    pub arrivals: Vec<Flight>,
}

/// How punctual one airline, origin, hour or month was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DelayStatistics {
    /// The airline, origin, hour (`00` to `23`) or month (`2013-01`).
    pub key: String,
    /// Flights that left.
    pub departed: i64,
    /// Flights that were cancelled.
    pub cancelled: i64,
    /// Flights that left more than 15 minutes late: what the statistics of the United States call delayed.
    pub late: i64,
    /// Mean delay at departure, minutes.
    pub mean_delay: Option<f64>,
}
