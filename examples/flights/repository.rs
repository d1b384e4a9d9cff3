//! All that touches the database: plain diesel, and an attribute that says what each method is.

use chrono::{DateTime, Utc};
// ANCHOR: imports
use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
// ANCHOR_END: imports
use diesel::dsl::{count, sql, sum};
use diesel::sql_types::Text;

use crate::error::AppError;
use crate::models::{
    Airline, Airport, Board, Booking, DelayStatistics, Flight, FlightChange, FlightDetail, NewBooking, Plane, Status,
    Weather,
};
use crate::query::{GroupBy, Page, Search, day};
use crate::schema::{airlines, airports, bookings, flights, planes, weather};

diesel::define_sql_function! {
    /// Rounds a time down.
    fn date_trunc(unit: Text, time: diesel::sql_types::Timestamptz) -> diesel::sql_types::Timestamptz;
}

/// Rows in each half of a board.
const BOARD_ROWS: i64 = 20;

// ANCHOR: struct
/// The flights, and what can be done with them.
#[derive(Clone)]
pub struct Flights {
    db: Db,
}
// ANCHOR_END: struct

impl Flights {
    /// Flights in this database.
    pub fn new(db: Db) -> Self {
        Flights { db }
    }
}

#[repository]
impl Flights {
    // ANCHOR: search
    /// Finds flights, in order of departure.
    ///
    /// A cancelled flight leaves what others have found at once; seats sold and minutes of delay may be 5 seconds old.
    ///
    /// # Errors
    /// [`AppError::Invalid`] for a date beyond the calendar.
    #[cached(tags = ["searches"], ttl = "5s")]
    pub async fn search(&self, conn: &mut Conn, search: &Search) -> Result<Page, AppError> {
        let mut query = flights::table.select(Flight::as_select()).into_boxed();
        if let Some(origin) = &search.origin {
            query = query.filter(flights::origin.eq(origin));
        }
        if let Some(dest) = &search.dest {
            query = query.filter(flights::dest.eq(dest));
        }
        if let Some(carrier) = &search.carrier {
            query = query.filter(flights::carrier.eq(carrier));
        }
        if let Some(date) = search.date {
            let (from, to) = day(date).ok_or_else(|| AppError::Invalid(format!("no such day: {date}")))?;
            query = query.filter(flights::sched_dep.ge(from).and(flights::sched_dep.lt(to)));
        }
        if let Some(after) = search.after {
            // The first condition is implied by the second; it is the one that an index can start at.
            query = query
                .filter(flights::sched_dep.ge(after.sched_dep))
                .filter(flights::sched_dep.gt(after.sched_dep).or(flights::id.gt(after.id)));
        }
        let limit = search.limit();
        let found = query.order((flights::sched_dep, flights::id)).limit(limit + 1).load(conn).await?;
        Ok(Page::new(found, limit))
    }
    // ANCHOR_END: search

    // ANCHOR: board
    /// The next departures and arrivals of an airport. Delays and cancellations are on it at once, seats within 10 seconds.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for an unknown airport.
    #[read(max_staleness = "2s")]
    #[cached(tags = ["airport:{airport}"], ttl = "10s")]
    pub async fn board(&self, conn: &mut Conn, airport: &str, at: DateTime<Utc>) -> Result<Board, AppError> {
        let airport = airports::table
            .find(airport)
            .select(Airport::as_select())
            .first(conn)
            .await
            .optional()?
            .ok_or_else(|| AppError::not_found("airport", airport))?;
        let departures = flights::table
            .filter(flights::origin.eq(&airport.faa).and(flights::sched_dep.ge(at)))
            .order((flights::sched_dep, flights::id))
            .limit(BOARD_ROWS)
            .select(Flight::as_select())
            .load(conn)
            .await?;
        let arrivals = flights::table
            .filter(flights::dest.eq(&airport.faa).and(flights::sched_arr.ge(at)))
            .order((flights::sched_arr, flights::id))
            .limit(BOARD_ROWS)
            .select(Flight::as_select())
            .load(conn)
            .await?;
        Ok(Board { airport, departures, arrivals })
    }
    // ANCHOR_END: board

    // ANCHOR: find
    /// One flight with its airline, destination, plane and weather.
    ///
    /// # Errors
    /// Only those of the database.
    #[cached(tags = ["flight:{id}"])]
    pub async fn find(&self, conn: &mut Conn, id: i64) -> Result<Option<FlightDetail>, AppError> {
        let measured =
            weather::origin.eq(flights::origin).and(weather::hour.eq(date_trunc("hour", flights::sched_dep)));
        Ok(flights::table
            .find(id)
            .inner_join(airlines::table)
            .inner_join(airports::table.on(airports::faa.eq(flights::dest)))
            .left_join(planes::table.on(planes::tailnum.nullable().eq(flights::tailnum)))
            .left_join(weather::table.on(measured))
            .select((
                Flight::as_select(),
                Airline::as_select(),
                Airport::as_select(),
                Option::<Plane>::as_select(),
                Option::<Weather>::as_select(),
            ))
            .first(conn)
            .await
            .optional()?)
    }
    // ANCHOR_END: find

    // ANCHOR: status
    /// The flight alone: what its passengers ask for again and again. Whoever changes it leaves the new value here.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for an unknown flight.
    #[cached(tags = ["flight:{id}"])]
    pub async fn status(&self, conn: &mut Conn, id: i64) -> Result<Flight, AppError> {
        let flight = flights::table.find(id).select(Flight::as_select()).first(conn).await.optional()?;
        flight.ok_or_else(|| AppError::not_found("flight", id))
    }
    // ANCHOR_END: status

    /// How punctual the flights were, grouped: at most a minute old, and up to ten when the database cannot be read.
    ///
    /// Nothing invalidates it: it reads all flights, so any write would, and nobody waits for the last one to count. It is the dearest
    /// query of the service, so nobody may ask for it all day.
    ///
    /// # Errors
    /// Only those of the database.
    // ANCHOR: limited
    #[cached(ttl = "1m", stale_if_error = "10m", refresh_ahead = 0.8)]
    #[rate_limited(per_user = "20/s, 600/min", global = "600/min")]
    pub async fn delay_statistics(&self, conn: &mut Conn, by: GroupBy) -> Result<Vec<DelayStatistics>, AppError> {
        // ANCHOR_END: limited
        // Each grouping is a type of its own, so the statement is written once here and compiled four times.
        macro_rules! grouped_by {
            ($key:expr) => {
                flights::table
                    .group_by($key)
                    .select((
                        $key,
                        count(flights::id).aggregate_filter(flights::status.eq(Status::Departed)),
                        count(flights::id).aggregate_filter(flights::status.eq(Status::Cancelled)),
                        count(flights::id).aggregate_filter(
                            flights::status.eq(Status::Departed).and(flights::dep_delay.assume_not_null().gt(15)),
                        ),
                        sum(flights::dep_delay).aggregate_filter(flights::status.eq(Status::Departed)),
                    ))
                    .order($key)
                    .load::<(String, i64, i64, i64, Option<i64>)>(conn)
                    .await?
            };
        }
        let rows = match by {
            GroupBy::Carrier => grouped_by!(flights::carrier),
            GroupBy::Origin => grouped_by!(flights::origin),
            // Bound values would differ between SELECT and GROUP BY in PostgreSQL's eyes, so these two are literal.
            GroupBy::Hour => grouped_by!(sql::<Text>("to_char(sched_dep AT TIME ZONE 'America/New_York', 'HH24')")),
            GroupBy::Month => grouped_by!(sql::<Text>("to_char(sched_dep AT TIME ZONE 'America/New_York', 'YYYY-MM')")),
        };
        let statistics =
            |(key, departed, cancelled, late, minutes): (String, i64, i64, i64, Option<i64>)| DelayStatistics {
                key,
                departed,
                cancelled,
                late,
                mean_delay: minutes.map(|minutes| minutes as f64 / departed as f64),
            };
        Ok(rows.into_iter().map(statistics).collect())
    }

    /// Who is booked on a flight, by seat. Not cached: whoever asks is about to act on it.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for an unknown flight.
    #[read]
    pub async fn bookings(&self, conn: &mut Conn, flight_id: i64) -> Result<Vec<Booking>, AppError> {
        let flight = flights::table.find(flight_id).select(flights::id);
        if !diesel::select(diesel::dsl::exists(flight)).get_result::<bool>(conn).await? {
            return Err(AppError::not_found("flight", flight_id));
        }
        Ok(bookings::table
            .filter(bookings::flight_id.eq(flight_id))
            .order(bookings::seat)
            .select(Booking::as_select())
            .load(conn)
            .await?)
    }

    // ANCHOR: book_seat
    /// Sells the lowest free seat of a scheduled flight.
    ///
    /// # Errors
    /// [`AppError::NotFound`], [`AppError::NotScheduled`] and [`AppError::SoldOut`].
    #[critical]
    #[write(invalidates = ["flight:{flight_id}"])]
    pub async fn book_seat(&self, conn: &mut Conn, flight_id: i64, passenger: &str) -> Result<Booking, AppError> {
        // The row lock makes buyers of one flight queue up: whoever counts seats has the only right to.
        let flight = lock_scheduled(conn, flight_id).await?;
        if flight.seats_booked >= flight.seats_total {
            return Err(AppError::SoldOut { flight: flight_id });
        }
        let taken = bookings::table
            .filter(bookings::flight_id.eq(flight_id))
            .order(bookings::seat)
            .select(bookings::seat)
            .load(conn)
            .await?;
        let booking = diesel::insert_into(bookings::table)
            .values(NewBooking { flight_id, seat: lowest_free(&taken), passenger })
            .returning(Booking::as_returning())
            .get_result(conn)
            .await?;
        diesel::update(flights::table.find(flight_id))
            .set(flights::seats_booked.eq(flights::seats_booked + 1))
            .execute(conn)
            .await?;
        Ok(booking)
    }
    // ANCHOR_END: book_seat

    /// Gives a seat back, also on a cancelled flight.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for an unknown booking, [`AppError::NotScheduled`] once the flight has left.
    #[write(invalidates = ["flight:{ret.flight_id}"])]
    pub async fn cancel_booking(&self, conn: &mut Conn, id: i64) -> Result<Booking, AppError> {
        let unknown = || AppError::not_found("booking", id);
        let flight_id =
            bookings::table.find(id).select(bookings::flight_id).first(conn).await.optional()?.ok_or_else(unknown)?;
        // Everyone locks the flight before its bookings, so no two can wait for each other.
        refuse_departed(&lock(conn, flight_id).await?)?;
        let booking = diesel::delete(bookings::table.find(id))
            .returning(Booking::as_returning())
            .get_result(conn)
            .await
            .optional()?
            .ok_or_else(unknown)?;
        diesel::update(flights::table.find(flight_id))
            .set(flights::seats_booked.eq(flights::seats_booked - 1))
            .execute(conn)
            .await?;
        Ok(booking)
    }

    // ANCHOR: delay
    /// Announces that a scheduled flight leaves so many minutes later than announced before.
    ///
    /// # Errors
    /// [`AppError::NotFound`] and [`AppError::NotScheduled`].
    #[write(invalidates = ["airport:{ret.origin}", "airport:{ret.dest}"], write_through = status(id))]
    pub async fn delay(&self, conn: &mut Conn, id: i64, minutes: i32) -> Result<Flight, AppError> {
        let flight = lock_scheduled(conn, id).await?;
        let delay = flight.dep_delay.unwrap_or(0).saturating_add(minutes);
        let change = FlightChange { dep_delay: Some(delay), arr_delay: Some(delay), ..FlightChange::default() };
        Ok(diesel::update(flights::table.find(id))
            .set(change)
            .returning(Flight::as_returning())
            .get_result(conn)
            .await?)
    }
    // ANCHOR_END: delay

    /// Cancels a scheduled flight. Its bookings stay, so that passengers can be rebooked; cancelling twice changes nothing.
    ///
    /// # Errors
    /// [`AppError::NotFound`], and [`AppError::NotScheduled`] once it has left.
    #[write(invalidates = ["airport:{ret.origin}", "airport:{ret.dest}", "searches"], write_through = status(id))]
    pub async fn cancel(&self, conn: &mut Conn, id: i64) -> Result<Flight, AppError> {
        refuse_departed(&lock(conn, id).await?)?;
        let change = FlightChange { status: Some(Status::Cancelled), ..FlightChange::default() };
        Ok(diesel::update(flights::table.find(id))
            .set(change)
            .returning(Flight::as_returning())
            .get_result(conn)
            .await?)
    }
}

impl Flights {
    // ANCHOR: rebook
    /// Moves a passenger to another flight: both seats change hands, or neither.
    ///
    /// # Errors
    /// Those of [`Flights::cancel_booking`] and [`Flights::book_seat`]; the old booking is then as it was.
    pub async fn rebook(&self, booking_id: i64, flight_id: i64) -> Result<Booking, AppError> {
        self.db
            .transaction(async |tx| {
                lock_both(tx, booking_id, flight_id).await?;
                let old = self.cancel_booking_in(tx, booking_id).await?;
                self.book_seat_in(tx, flight_id, &old.passenger).await
            })
            .await
    }
    // ANCHOR_END: rebook
}

/// Reads a flight and keeps others from changing it until the transaction ends.
async fn lock(conn: &mut Conn, id: i64) -> Result<Flight, AppError> {
    flights::table
        .find(id)
        .select(Flight::as_select())
        .for_update()
        .first(conn)
        .await
        .optional()?
        .ok_or_else(|| AppError::not_found("flight", id))
}

async fn lock_scheduled(conn: &mut Conn, id: i64) -> Result<Flight, AppError> {
    let flight = lock(conn, id).await?;
    match flight.status {
        Status::Scheduled => Ok(flight),
        status => Err(AppError::NotScheduled { flight: id, status }),
    }
}

fn refuse_departed(flight: &Flight) -> Result<(), AppError> {
    match flight.status {
        status @ Status::Departed => Err(AppError::NotScheduled { flight: flight.id, status }),
        Status::Scheduled | Status::Cancelled => Ok(()),
    }
}

/// Locks the flight of a booking and another one in the order of their ids.
///
/// Two passengers who swap flights would otherwise each hold the row that the other is waiting for.
async fn lock_both(conn: &mut Conn, booking_id: i64, flight_id: i64) -> Result<(), AppError> {
    let booked = bookings::table.find(booking_id).select(bookings::flight_id);
    flights::table
        .filter(flights::id.eq(flight_id).or(flights::id.eq_any(booked)))
        .order(flights::id)
        .select(flights::id)
        .for_update()
        .load::<i64>(conn)
        .await?;
    Ok(())
}

/// The lowest seat that is not in this ascending list.
fn lowest_free(taken: &[i32]) -> i32 {
    (1..).zip(taken).find_map(|(seat, &taken)| (seat != taken).then_some(seat)).unwrap_or(taken.len() as i32 + 1)
}

#[cfg(test)]
mod tests {
    use super::lowest_free;

    #[test]
    fn a_seat_given_back_is_sold_first() {
        assert_eq!(lowest_free(&[]), 1);
        assert_eq!(lowest_free(&[1, 2, 3]), 4);
        assert_eq!(lowest_free(&[2, 3]), 1);
        assert_eq!(lowest_free(&[1, 2, 4]), 3);
    }
}
