//! From the lines of the data set to rows.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer};

use crate::models::{Airport, NewFlight, Plane, Status, Weather};

/// Seats of a plane that the registry does not know: the median of those it knows.
const USUAL_SEATS: i32 = 149;

#[derive(Deserialize)]
pub(super) struct RawAirport {
    faa: String,
    name: String,
    lat: f64,
    lon: f64,
    alt: i32,
    #[serde(deserialize_with = "na")]
    tzone: Option<String>,
}

impl RawAirport {
    pub(super) fn into_airport(self) -> Airport {
        let RawAirport { faa, name, lat, lon, alt, tzone } = self;
        Airport { faa, name, lat, lon, alt, tzone }
    }
}

#[derive(Deserialize)]
pub(super) struct RawPlane {
    tailnum: String,
    #[serde(deserialize_with = "na")]
    year: Option<i32>,
    manufacturer: String,
    model: String,
    engine: String,
    engines: i32,
    seats: i32,
}

impl RawPlane {
    pub(super) fn into_plane(self) -> Plane {
        let RawPlane { tailnum, year, manufacturer, model, engine, engines, seats } = self;
        Plane { tailnum, year, manufacturer, model, engine, engines, seats }
    }
}

#[derive(Deserialize)]
pub(super) struct RawWeather {
    origin: String,
    time_hour: DateTime<Utc>,
    #[serde(deserialize_with = "na")]
    temp: Option<f64>,
    #[serde(deserialize_with = "na")]
    dewp: Option<f64>,
    #[serde(deserialize_with = "na")]
    humid: Option<f64>,
    #[serde(deserialize_with = "na")]
    wind_dir: Option<i32>,
    #[serde(deserialize_with = "na")]
    wind_speed: Option<f64>,
    #[serde(deserialize_with = "na")]
    wind_gust: Option<f64>,
    #[serde(deserialize_with = "na")]
    precip: Option<f64>,
    #[serde(deserialize_with = "na")]
    pressure: Option<f64>,
    #[serde(deserialize_with = "na")]
    visib: Option<f64>,
}

impl RawWeather {
    pub(super) fn into_weather(self) -> Weather {
        let RawWeather { origin, time_hour: hour, temp, dewp, humid, wind_dir, wind_speed, .. } = self;
        let RawWeather { wind_gust, precip, pressure, visib, .. } = self;
        Weather { origin, hour, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib }
    }
}

#[derive(Deserialize)]
pub(super) struct RawFlight {
    /// The full hour of the scheduled departure: with the zone, unlike all other times here.
    time_hour: DateTime<Utc>,
    minute: i64,
    /// Clock time at the destination, such as 819 for 8:19.
    sched_arr_time: u32,
    /// Not available for flights that never left.
    #[serde(deserialize_with = "na")]
    dep_delay: Option<i32>,
    /// Not available for flights that never left, or landed elsewhere.
    #[serde(deserialize_with = "na")]
    arr_delay: Option<i32>,
    carrier: String,
    flight: i32,
    #[serde(deserialize_with = "na")]
    tailnum: Option<String>,
    origin: String,
    dest: String,
    distance: i32,
}

impl RawFlight {
    /// The flight as it was known at `now`.
    ///
    /// Delays are exact and clock times are not (no date, no zone), so moments are the timetable plus the delay: a
    /// departure after midnight needs no special case.
    pub(super) fn into_flight(
        self,
        now: DateTime<Utc>,
        zones: &HashMap<String, Tz>,
        seats: &HashMap<String, i32>,
    ) -> Result<NewFlight, String> {
        let zone = zones.get(&self.dest).ok_or_else(|| format!("the time zone of {} is unknown", self.dest))?;
        let sched_dep = self.time_hour + TimeDelta::minutes(self.minute);
        let sched_arr = next(sched_dep, self.sched_arr_time, *zone)
            .ok_or_else(|| format!("{} is not a time in {zone}", self.sched_arr_time))?;
        let moment = |scheduled, delay: Option<i32>| {
            let moment = scheduled + TimeDelta::minutes(delay?.into());
            (moment <= now).then_some(moment)
        };
        let dep = moment(sched_dep, self.dep_delay);
        let arr = dep.and_then(|_| moment(sched_arr, self.arr_delay));
        let status = match dep {
            Some(_) => Status::Departed,
            None if self.dep_delay.is_none() && sched_dep <= now => Status::Cancelled,
            None => Status::Scheduled,
        };
        Ok(NewFlight {
            seats_total: self.tailnum.as_ref().and_then(|plane| seats.get(plane)).copied().unwrap_or(USUAL_SEATS),
            carrier: self.carrier,
            number: self.flight,
            origin: self.origin,
            dest: self.dest,
            tailnum: self.tailnum,
            sched_dep,
            sched_arr,
            dep,
            arr,
            dep_delay: dep.and(self.dep_delay),
            arr_delay: arr.and(self.arr_delay),
            distance: self.distance,
            status,
        })
    }
}

/// The first moment after `from` at which clocks in this zone show `hhmm`; 2400 is midnight.
fn next(from: DateTime<Utc>, hhmm: u32, zone: Tz) -> Option<DateTime<Utc>> {
    let time = NaiveTime::from_hms_opt(hhmm / 100 % 24, hhmm % 100, 0).filter(|_| hhmm <= 2400)?;
    let today = from.with_timezone(&zone).date_naive();
    let on = |day| zone.from_local_datetime(&today.checked_add_days(Days::new(day))?.and_time(time)).earliest();
    [0, 1].into_iter().filter_map(on).map(|local| local.to_utc()).find(|&moment| moment > from)
}

/// `NA` is how R writes a missing value; it must not hide a wrong one.
fn na<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    match String::deserialize(deserializer)?.as_str() {
        "NA" | "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::America::{Los_Angeles, New_York};
    use chrono_tz::Pacific::Honolulu;

    use super::*;

    const HEAD: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,\
                        flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour\n";
    const LATER: &str = "2014-01-01T00:00:00Z";

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn flight(line: &str, now: &str) -> Result<NewFlight, String> {
        let zones = [("IAH", chrono_tz::America::Chicago), ("HNL", Honolulu), ("BQN", chrono_tz::America::Puerto_Rico)];
        let zones = zones.map(|(faa, zone)| (faa.to_owned(), zone)).into();
        let seats = [("N14228".to_owned(), 179)].into();
        let lines = format!("{HEAD}{line}");
        let mut rows = csv::Reader::from_reader(lines.as_bytes()).into_deserialize::<RawFlight>();
        let raw = rows.next().unwrap().map_err(|error| error.to_string())?;
        raw.into_flight(utc(now), &zones, &seats)
    }

    #[test]
    fn the_first_flight_of_the_year() {
        let line = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
        let flight = flight(line, LATER).unwrap();
        assert_eq!((flight.sched_dep, flight.dep), (utc("2013-01-01T10:15:00Z"), Some(utc("2013-01-01T10:17:00Z"))));
        assert_eq!((flight.sched_arr, flight.arr), (utc("2013-01-01T14:19:00Z"), Some(utc("2013-01-01T14:30:00Z"))));
        assert_eq!((flight.dep_delay, flight.arr_delay), (Some(2), Some(11)));
        assert_eq!((flight.status, flight.seats_total), (Status::Departed, 179));
    }

    #[test]
    fn a_departure_and_an_arrival_after_midnight_are_on_the_next_day() {
        // To leave at 23:59 and land at 4:45 in Puerto Rico; left 0:26 on the next day.
        let line = "2013,1,2,26,2359,27,515,445,30,B6,739,NA,JFK,BQN,194,1576,23,59,2013-01-03T04:00:00Z";
        let flight = flight(line, LATER).unwrap();
        assert_eq!((flight.sched_dep, flight.dep), (utc("2013-01-03T04:59:00Z"), Some(utc("2013-01-03T05:26:00Z"))));
        assert_eq!((flight.sched_arr, flight.arr), (utc("2013-01-03T08:45:00Z"), Some(utc("2013-01-03T09:15:00Z"))));
        assert_eq!((flight.tailnum, flight.seats_total), (None, USUAL_SEATS));
    }

    #[test]
    fn a_cancelled_flight_has_no_times() {
        let line = "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,IAH,NA,416,16,30,2013-01-01T21:00:00Z";
        let flight = flight(line, LATER).unwrap();
        assert_eq!((flight.dep, flight.arr, flight.dep_delay, flight.arr_delay), (None, None, None, None));
        assert_eq!(flight.status, Status::Cancelled);
    }

    #[test]
    fn a_diverted_flight_departed_and_did_not_arrive() {
        let line = "2013,1,1,1525,1530,-5,1934,1805,NA,MQ,4525,N719MQ,EWR,IAH,NA,529,15,30,2013-01-01T20:00:00Z";
        let flight = flight(line, LATER).unwrap();
        assert_eq!((flight.status, flight.dep_delay, flight.arr), (Status::Departed, Some(-5), None));
    }

    #[test]
    fn the_future_is_not_known_yet() {
        let line = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
        let at = |now| flight(line, now).map(|f| (f.status, f.dep_delay, f.arr_delay));
        assert_eq!(at("2013-01-01T10:16:00Z"), Ok((Status::Scheduled, None, None)));
        assert_eq!(at("2013-01-01T10:17:00Z"), Ok((Status::Departed, Some(2), None)));
        assert_eq!(at("2013-01-01T14:30:00Z"), Ok((Status::Departed, Some(2), Some(11))));
        let cancelled = "2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,IAH,NA,416,16,30,2013-01-01T21:00:00Z";
        assert_eq!(flight(cancelled, "2013-01-01T21:00:00Z").map(|f| f.status), Ok(Status::Scheduled));
    }

    #[test]
    fn a_wrong_value_is_not_a_missing_one() {
        let wrong =
            flight("2013,1,1,NA,1630,soon,NA,1815,NA,EV,4308,NA,EWR,IAH,NA,1,16,30,2013-01-01T21:00:00Z", LATER);
        assert!(wrong.unwrap_err().contains("soon"));
        let nowhere =
            flight("2013,1,1,NA,1630,NA,NA,1815,NA,EV,4308,NA,EWR,XXX,NA,1,16,30,2013-01-01T21:00:00Z", LATER);
        assert_eq!(nowhere.unwrap_err(), "the time zone of XXX is unknown");
        let never = flight("2013,1,1,NA,1630,NA,NA,1861,NA,EV,4308,NA,EWR,IAH,NA,1,16,30,2013-01-01T21:00:00Z", LATER);
        assert_eq!(never.unwrap_err(), "1861 is not a time in America/Chicago");
    }

    #[test]
    fn the_next_time_a_clock_shows() {
        let at = |from, hhmm, zone| next(utc(from), hhmm, zone).map(|moment| moment.to_rfc3339());
        assert_eq!(at("2013-01-01T10:15:00Z", 2400, New_York).as_deref(), Some("2013-01-02T05:00:00+00:00"));
        assert_eq!(at("2013-01-01T10:15:00Z", 515, New_York).as_deref(), Some("2013-01-02T10:15:00+00:00"));
        // Eleven hours west, on the same day.
        assert_eq!(at("2013-01-01T14:00:00Z", 1500, Honolulu).as_deref(), Some("2013-01-02T01:00:00+00:00"));
        // On the night in which it strikes 1:30 twice, the first one counts; 2:30 in spring never comes.
        assert_eq!(at("2013-11-03T03:00:00Z", 130, Los_Angeles).as_deref(), Some("2013-11-03T08:30:00+00:00"));
        assert_eq!(at("2013-03-10T05:00:00Z", 230, New_York).as_deref(), Some("2013-03-11T06:30:00+00:00"));
        assert_eq!(
            (at("2013-01-01T10:15:00Z", 2401, New_York), at("2013-01-01T10:15:00Z", 1060, New_York)),
            (None, None)
        );
    }
}
