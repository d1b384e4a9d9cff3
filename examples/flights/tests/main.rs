//! The example on a real PostgreSQL: what a user of the service would notice.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use dbopt_diesel::Context;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use flights::error::AppError;
use flights::load::{self, JANUARY_NOW, Source};
use flights::models::{Flight, Status};
use flights::query::Search;
use flights::repository::Flights;
use flights::routes;
use flights::schema::flights as table;
use flights::serve::{Listen, serve};
use flights::traffic::Traffic;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::time::Duration;
use support::Database;
use tower::ServiceExt;

#[tokio::test(flavor = "multi_thread")]
async fn january_is_loaded_once_however_often_it_is_loaded() {
    let database = Database::empty("loading").await;
    let mut conn = database.connect().await;
    let progress = ProgressBar::hidden();
    let written = |summary: &load::Summary| summary.tables.iter().map(|t| (t.table, t.written)).collect::<Vec<_>>();

    let first = load::load(&mut conn, &Source::January, JANUARY_NOW, &progress).await.unwrap();
    assert_eq!(
        written(&first),
        [("airlines", 16), ("airports", 1462), ("planes", 3322), ("weather", 2226), ("flights", 27_004)]
    );
    assert!(first.tables.iter().all(|table| table.skipped.is_empty() && table.unchanged == 0), "{first}");

    // What happens in the service stays, and loading again changes nothing.
    let next = table::table.filter(table::status.eq(Status::Scheduled)).order(table::id);
    let next: Flight = next.select(Flight::as_select()).first(&mut conn).await.unwrap();
    let delay = diesel::update(table::table.find(next.id)).set(table::dep_delay.eq(5));
    delay.execute(&mut conn).await.unwrap();
    let again = load::load(&mut conn, &Source::January, JANUARY_NOW, &progress).await.unwrap();
    assert!(again.tables.iter().all(|table| table.written == 0), "{again}");
    let delayed: Option<i32> = table::table.find(next.id).select(table::dep_delay).first(&mut conn).await.unwrap();
    assert_eq!(delayed, Some(5));

    // A day later, a day of scheduled flights has become history, and nothing else has changed.
    let tomorrow = JANUARY_NOW + Duration::from_secs(24 * 3600);
    let later = load::load(&mut conn, &Source::January, tomorrow, &progress).await.unwrap();
    assert_eq!(later.tables[4].written, 876);
    let by_status = async |conn: &mut _, status| -> i64 {
        table::table.filter(table::status.eq(status)).count().get_result(conn).await.unwrap()
    };
    assert_eq!(by_status(&mut conn, Status::Scheduled).await, 13_549);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repository_reads_and_writes() {
    let database = Database::loaded("repository").await;
    let flights = Flights::new(database.db().await);

    // All flights of a day, page by page, are the flights of the day.
    let date = "2013-01-16".parse().ok();
    let mut search = Search { origin: Some("JFK".into()), date, limit: Some(100), ..Search::default() };
    let mut found = Vec::new();
    loop {
        let page = flights.search(&search).await.unwrap();
        assert!(page.flights.len() <= 100);
        found.extend(page.flights);
        match page.next {
            Some(next) => search.after = Some(next.parse().unwrap()),
            None => break,
        }
    }
    assert_eq!(found.len(), 285);
    assert!(found.is_sorted_by_key(|flight| (flight.sched_dep, flight.id)));

    let id = found[0].id;
    let detail = flights.find(id).await.unwrap().unwrap();
    assert_eq!(detail.flight, found[0]);
    assert_eq!(detail.airline.carrier, detail.flight.carrier);
    assert!(detail.weather.is_some());
    assert_eq!(flights.find(-1).await.unwrap(), None);

    let board = flights.board("LAX", JANUARY_NOW).await.unwrap();
    assert_eq!((board.departures.len(), board.arrivals.len()), (0, 20));
    assert!(matches!(flights.board("XXX", JANUARY_NOW).await, Err(AppError::NotFound { what: "airport", .. })));

    // Delays add up; a cancelled flight takes no more of them.
    assert_eq!(flights.delay(id, 10).await.unwrap().dep_delay, Some(10));
    assert_eq!(flights.delay(id, 20).await.unwrap().dep_delay, Some(30));
    assert_eq!(flights.cancel(id).await.unwrap().status, Status::Cancelled);
    assert_eq!(flights.cancel(id).await.unwrap().status, Status::Cancelled);
    let refused = flights.delay(id, 1).await;
    assert!(matches!(refused, Err(AppError::NotScheduled { status: Status::Cancelled, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_kept_and_what_was_written_replaces_it_on_all_instances() {
    let database = Database::loaded("cached").await;
    let (db, other) = (database.db().await, database.db().await);
    for db in [&db, &other] {
        until("Redis is connected", async || db.cache().status().redis == "up").await;
    }
    let (flights, elsewhere) = (Flights::new(db.clone()), Flights::new(other));
    let date = "2013-01-20".parse().ok();
    let id = flights.search(&Search { date, ..Search::default() }).await.unwrap().flights[0].id;
    flights.find(id).await.unwrap();
    elsewhere.find(id).await.unwrap();
    let loads = db.cache().status().loads;
    flights.find(id).await.unwrap();
    assert_eq!(db.cache().status().loads, loads);

    let delayed = flights.delay(id, 7).await.unwrap();
    assert_eq!(flights.status(id).await.unwrap(), delayed);
    assert_eq!(db.cache().status().loads, loads, "the write has left it there");
    assert_eq!(flights.find(id).await.unwrap().unwrap().flight, delayed);
    assert_eq!(db.cache().status().loads, loads + 1, "the write has made it stale");
    until("the other instance hears of it", async || elsewhere.find(id).await.unwrap().unwrap().flight == delayed)
        .await;
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(tokio::time::Instant::now() < give_up, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seat_is_sold_twice_and_none_is_lost() {
    let database = Database::loaded("bookings").await;
    let flights = Flights::new(database.db().await);
    let mut conn = database.connect().await;
    let scheduled = table::table.filter(table::status.eq(Status::Scheduled)).order(table::id).limit(2);
    let ids: Vec<i64> = scheduled.select(table::id).load(&mut conn).await.unwrap();
    let (small, other) = (ids[0], ids[1]);
    diesel::update(table::table.find(small)).set(table::seats_total.eq(12)).execute(&mut conn).await.unwrap();

    let buyers = (0..20).map(|number| {
        let flights = flights.clone();
        tokio::spawn(async move { flights.book_seat(small, &format!("passenger {number}")).await })
    });
    let mut sold = Vec::new();
    let mut refused = 0;
    for buyer in buyers.collect::<Vec<_>>() {
        match buyer.await.unwrap() {
            Ok(booking) => sold.push(booking),
            Err(AppError::SoldOut { flight }) if flight == small => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let mut seats: Vec<i32> = sold.iter().map(|booking| booking.seat).collect();
    seats.sort_unstable();
    assert_eq!((seats, refused), ((1..=12).collect(), 8));

    // In a context, because these look at what they have just written.
    let rebookings = async {
        // A rebooking that finds no seat leaves the passenger where he was; one that does leaves a seat behind.
        let elsewhere = flights.book_seat(other, "elsewhere").await.unwrap();
        assert!(matches!(flights.rebook(elsewhere.id, small).await, Err(AppError::SoldOut { .. })));
        assert_eq!(flights.bookings(other).await.unwrap(), std::slice::from_ref(&elsewhere));
        let moved = flights.rebook(sold[3].id, other).await.unwrap();
        assert_eq!((moved.flight_id, moved.seat, &moved.passenger), (other, 2, &sold[3].passenger));
        assert_eq!(flights.bookings(small).await.unwrap().len(), 11);
        assert_eq!(flights.rebook(elsewhere.id, small).await.unwrap().seat, sold[3].seat);
    };
    Context::user("clerk").scope(rebookings).await;

    let booked: Vec<i32> = table::table
        .filter(table::id.eq_any(ids))
        .order(table::id)
        .select(table::seats_booked)
        .load(&mut conn)
        .await
        .unwrap();
    assert_eq!(booked, [12, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers() {
    let database = Database::loaded("service").await;
    let app = routes::router(Flights::new(database.db().await));

    let (status, body) = call(&app, "GET", "/flights?origin=JFK&dest=LAX&date=2013-01-15&limit=2", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((body["flights"][0]["dest"].as_str(), body["flights"].as_array().unwrap().len()), (Some("LAX"), 2));
    let (_, next) = call(
        &app,
        "GET",
        &format!("/flights?origin=JFK&dest=LAX&limit=2&after={}", body["next"].as_str().unwrap()),
        None,
    )
    .await;
    assert!(next["flights"][0]["sched_dep"].as_str() >= body["flights"][1]["sched_dep"].as_str());

    let (_, board) = call(&app, "GET", "/airports/JFK/board?at=2013-01-15T17:00:00Z", None).await;
    let id = board["departures"][19]["id"].as_i64().unwrap();
    let (status, booking) =
        call(&app, "POST", &format!("/flights/{id}/bookings"), Some(json!({ "passenger": "Ada" }))).await;
    assert_eq!((status, booking["seat"].as_i64()), (StatusCode::CREATED, Some(1)));
    for by in ["carrier", "origin", "hour", "month"] {
        let (status, rows) = call(&app, "GET", &format!("/stats/delays?by={by}"), None).await;
        assert_eq!(status, StatusCode::OK, "{rows}");
        let departed: i64 = rows.as_array().unwrap().iter().map(|row| row["departed"].as_i64().unwrap()).sum();
        assert_eq!(departed, 12_490, "{by}");
    }

    let wrong = [
        ("GET", "/flights/0".to_owned(), None, 404),
        ("GET", "/nowhere".to_owned(), None, 404),
        ("DELETE", "/flights/1".to_owned(), None, 405),
        ("GET", "/flights/seven".to_owned(), None, 422),
        ("GET", "/flights?date=tomorrow".to_owned(), None, 422),
        ("GET", "/flights?after=7".to_owned(), None, 422),
        ("GET", "/flights?colour=red".to_owned(), None, 422),
        ("GET", "/stats/delays?by=colour".to_owned(), None, 422),
        ("POST", format!("/flights/{id}/bookings"), Some(json!({ "passenger": " " })), 422),
        ("POST", format!("/flights/{id}/bookings"), Some(json!({})), 422),
        ("POST", format!("/flights/{id}/delay"), Some(json!({ "minutes": 0 })), 422),
        ("POST", "/flights/1/delay".to_owned(), Some(json!({ "minutes": 5 })), 409),
        ("POST", "/flights/1/cancel".to_owned(), None, 409),
    ];
    for (method, path, body, expected) in wrong {
        let (status, problem) = call(&app, method, &path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{method} {path}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_read_their_own_writes() {
    let database = Database::loaded("traffic").await;
    let (listen, admin_listen) = (support::free_address(), support::free_address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let config = database.config();
    let server =
        tokio::spawn(
            async move { serve(&Listen { listen, admin_listen }, config, async { drop(stopped.await) }).await },
        );
    while tokio::net::TcpStream::connect(listen).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let traffic = Traffic { base: format!("http://{listen}").parse().unwrap(), users: 8 };
    let report = traffic.run(Duration::from_secs(2), |_| {}).await.unwrap();
    assert_eq!((report.errors, report.stale_reads), (0, 0), "{report:?}");
    assert!(report.reads > 100 && report.writes > 10 && report.criticals > 10, "{report:?}");
    drop(stop);
    server.await.unwrap().unwrap();
}

async fn call(app: &Router, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    let response = app.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}
