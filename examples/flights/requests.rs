//! What users of the service ask for.

use anyhow::bail;
use chrono::Days;
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::{Value, json};

use crate::load::JANUARY_NOW;
use crate::models::{Flight, HOME, Status};
use crate::query::Page;

/// The first `wanted` flights that have not left yet, as the service at `base` tells them.
///
/// # Errors
/// When the service cannot be reached, or has fewer.
pub async fn scheduled_flights(client: &Client, base: &Url, wanted: usize) -> anyhow::Result<Vec<Flight>> {
    let mut found = Vec::new();
    let today = JANUARY_NOW.with_timezone(&HOME).date_naive();
    for date in (1..=14).filter_map(|days| today.checked_add_days(Days::new(days))) {
        let mut after = None::<String>;
        loop {
            let mut url = base.join(&format!("flights?date={date}&limit=200"))?;
            if let Some(after) = &after {
                url.query_pairs_mut().append_pair("after", after);
            }
            let page: Page = client.get(url).send().await?.error_for_status()?.json().await?;
            found.extend(page.flights.into_iter().filter(|flight| flight.status == Status::Scheduled));
            if found.len() >= wanted {
                found.truncate(wanted);
                return Ok(found);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    bail!("{} scheduled flights are fewer than {wanted}; has `flights load` run?", found.len())
}

/// What somebody reads who looks around near `flight`.
pub fn a_look(flight: &Flight, random: &mut fastrand::Rng) -> String {
    let date = flight.sched_dep.with_timezone(&HOME).date_naive();
    let Flight { id, carrier, origin, dest, sched_dep, .. } = flight;
    match random.u32(..100) {
        0..20 => format!("flights?origin={origin}&dest={dest}&date={date}"),
        20..40 => format!("flights?carrier={carrier}&date={date}&limit=20"),
        40..60 => format!("airports/{origin}/board?at={}", sched_dep.format("%FT%H:00:00Z")),
        60..75 => format!("flights/{id}"),
        75..90 => format!("flights/{id}/status"),
        90..97 => format!("flights/{id}/bookings"),
        97 => "stats/delays?by=carrier".to_owned(),
        98 => "stats/delays?by=origin".to_owned(),
        _ => "stats/delays?by=hour".to_owned(),
    }
}

/// The answer, if it is one.
///
/// # Errors
/// What the service said instead.
pub async fn success(response: Response) -> anyhow::Result<Response> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (url, status) = (response.url().clone(), response.status());
    bail!("{url} answered {status}: {}", response.text().await.unwrap_or_default())
}

/// Reads, and some writes among them, each told by its number: the same number is the same request.
#[derive(Debug, Clone)]
pub struct Mix {
    client: Client,
    base: Url,
    flights: std::sync::Arc<[Flight]>,
    /// How many of 100 requests write.
    writes: u32,
}

impl Mix {
    /// Requests to the service at `base`, of which so many percent write.
    ///
    /// # Errors
    /// Those of [`scheduled_flights`].
    pub async fn new(client: Client, base: Url, writes: u32) -> anyhow::Result<Self> {
        let flights = scheduled_flights(&client, &base, 1000).await?.into();
        Ok(Mix { client, base, flights, writes })
    }

    /// Sends request `number`, and reads the answer to its end.
    ///
    /// # Errors
    /// No answer, or one that says that it failed. A sold-out flight is none.
    pub async fn send(&self, number: u64) -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(number);
        let flight = &self.flights[random.usize(..self.flights.len())];
        let request = if random.u32(..100) >= self.writes {
            self.client.get(self.base.join(&a_look(flight, &mut random))?)
        } else {
            let (path, body) = a_write(flight, number, &mut random);
            self.client.post(self.base.join(&path)?).json(&body)
        };
        let answer = request.header("x-user", format!("user-{}", number % 1000)).send().await?;
        if answer.status() != StatusCode::CONFLICT {
            success(answer).await?.bytes().await?;
        }
        Ok(())
    }
}

fn a_write(flight: &Flight, number: u64, random: &mut fastrand::Rng) -> (String, Value) {
    match random.u32(..4) {
        0 => (format!("flights/{}/bookings", flight.id), json!({ "passenger": format!("user-{}", number % 1000) })),
        _ => (format!("flights/{}/delay", flight.id), json!({ "minutes": random.u32(1..=3) })),
    }
}
