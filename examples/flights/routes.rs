//! The service over HTTP.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use dbopt_diesel::ContextLayer;
use serde::Deserialize;

use crate::error::AppError;
use crate::models::{Board, Booking, DelayStatistics, Flight, FlightDetail};
use crate::query::{GroupBy, Page, Search};
use crate::repository::Flights;

type Answer<T> = Result<Json<T>, AppError>;

/// All addresses of the service.
pub fn router(flights: Flights) -> Router {
    Router::new()
        .route("/flights", get(search))
        .route("/flights/{id}", get(find))
        .route("/flights/{id}/status", get(status))
        .route("/flights/{id}/bookings", get(bookings).post(book))
        .route("/flights/{id}/delay", post(delay))
        .route("/flights/{id}/cancel", post(cancel))
        .route("/bookings/{id}/rebook", post(rebook))
        .route("/airports/{faa}/board", get(board))
        .route("/stats/delays", get(delay_statistics))
        .fallback(async || AppError::NoRoute)
        .method_not_allowed_fallback(async || AppError::WrongMethod)
        .with_state(flights)
        // ANCHOR: layer
        // Who is calling, and read-your-writes: a caller that sends back the `dbopt-token` it was given sees its writes.
        .layer(ContextLayer::new().user_header("x-user"))
    // ANCHOR_END: layer
}

async fn search(State(flights): State<Flights>, Query(search): Query<Search>) -> Answer<Page> {
    Ok(Json(flights.search(&search).await?))
}

async fn find(State(flights): State<Flights>, Path(id): Path<i64>) -> Answer<FlightDetail> {
    let flight = flights.find(id).await?;
    flight.map(Json).ok_or_else(|| AppError::not_found("flight", id))
}

async fn status(State(flights): State<Flights>, Path(id): Path<i64>) -> Answer<Flight> {
    Ok(Json(flights.status(id).await?))
}

#[derive(Deserialize)]
struct At {
    at: Option<DateTime<Utc>>,
}

async fn board(State(flights): State<Flights>, Path(airport): Path<String>, Query(query): Query<At>) -> Answer<Board> {
    Ok(Json(flights.board(&airport, query.at.unwrap_or(crate::load::JANUARY_NOW)).await?))
}

#[derive(Deserialize)]
struct By {
    by: GroupBy,
}

async fn delay_statistics(State(flights): State<Flights>, Query(query): Query<By>) -> Answer<Vec<DelayStatistics>> {
    Ok(Json(flights.delay_statistics(query.by).await?))
}

async fn bookings(State(flights): State<Flights>, Path(id): Path<i64>) -> Answer<Vec<Booking>> {
    Ok(Json(flights.bookings(id).await?))
}

#[derive(Deserialize)]
struct Passenger {
    passenger: String,
}

async fn book(
    State(flights): State<Flights>,
    Path(id): Path<i64>,
    Body(body): Body<Passenger>,
) -> Result<(StatusCode, Json<Booking>), AppError> {
    let passenger = body.passenger.trim();
    if passenger.is_empty() || passenger.chars().count() > 100 {
        return Err(AppError::Invalid("`passenger` must have 1 to 100 characters".to_owned()));
    }
    Ok((StatusCode::CREATED, Json(flights.book_seat(id, passenger).await?)))
}

#[derive(Deserialize)]
struct Minutes {
    minutes: i32,
}

async fn delay(State(flights): State<Flights>, Path(id): Path<i64>, Body(body): Body<Minutes>) -> Answer<Flight> {
    if !(1..=1440).contains(&body.minutes) {
        return Err(AppError::Invalid("`minutes` must be between 1 and 1440".to_owned()));
    }
    Ok(Json(flights.delay(id, body.minutes).await?))
}

async fn cancel(State(flights): State<Flights>, Path(id): Path<i64>) -> Answer<Flight> {
    Ok(Json(flights.cancel(id).await?))
}

#[derive(Deserialize)]
struct Rebook {
    flight_id: i64,
}

async fn rebook(State(flights): State<Flights>, Path(id): Path<i64>, Body(body): Body<Rebook>) -> Answer<Booking> {
    Ok(Json(flights.rebook(id, body.flight_id).await?))
}

// axum's own extractors answer in plain text; these answer like everything else here.

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(AppError))]
struct Path<T>(T);

#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(AppError))]
struct Query<T>(T);

#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(AppError))]
struct Body<T>(T);

impl From<PathRejection> for AppError {
    fn from(rejection: PathRejection) -> Self {
        AppError::Invalid(rejection.body_text())
    }
}

impl From<QueryRejection> for AppError {
    fn from(rejection: QueryRejection) -> Self {
        AppError::Invalid(rejection.body_text())
    }
}

impl From<JsonRejection> for AppError {
    fn from(rejection: JsonRejection) -> Self {
        AppError::Invalid(rejection.body_text())
    }
}
