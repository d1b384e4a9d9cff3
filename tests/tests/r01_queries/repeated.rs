//! N+1: a labelled corpus of what is one and what only looks like it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};

use dbopt_diesel::prelude::*;
use dbopt_diesel::testing::{QueryLog, assert_no_n_plus_one};
use dbopt_tests::log::Log;
use futures_util::FutureExt;
use futures_util::future::join_all;

use super::repository::Flights;
use super::{cluster, flights};

type Scene = fn(Flights) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! scenes {
    ($($name:literal: |$flights:ident| $body:block)*) => {
        &[$(($name, |$flights| Box::pin(async move { $body }))),*]
    };
}

/// Keys that nobody else uses.
fn fresh() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1_000_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

const N_PLUS_ONE: &[(&str, Scene)] = scenes! {
    "a read for each row": |f| { for id in f.board("A1").await.unwrap() { f.seats(id).await.unwrap(); } }
    "the first row for each": |f| { for id in f.board("A1").await.unwrap() { f.first_seat(id).await.unwrap(); } }
    "a count for each": |f| { for id in 1..9 { f.seat_count(id).await.unwrap(); } }
    "five exactly": |f| { for id in 1..=5 { f.seats(id).await.unwrap(); } }
    "at once": |f| { join_all((1..9).map(|id| f.seats(id))).await; }
    "in tasks of its own": |f| {
        for id in 1..9 {
            let f = f.clone();
            dbopt_diesel::spawn(async move { f.seats(id).await.unwrap() }).await.unwrap();
        }
    }
    "a cold cache": |f| { for id in 101..109 { f.cached_seats(id).await.unwrap(); } }
    "a warm cache": |f| { for id in 101..109 { f.cached_seats(id).await.unwrap(); } }
    "a cache half warm": |f| { for id in 105..113 { f.cached_seats(id).await.unwrap(); } }
    "values written into the text": |f| { for id in 1..9 { f.written_in(id).await.unwrap(); } }
    "a loop inside one method": |f| { f.loop_inside(&[1, 2, 3, 4, 5, 6]).await.unwrap(); }
    "the same statement, pipelined": |f| { f.pipelined(&[1, 2, 3, 4, 5, 6]).await.unwrap(); }
    "two statements in turns": |f| { for id in 1..9 { f.seats(id).await.unwrap(); f.seat_count(id).await.unwrap(); } }
    "an insert for each": |f| { for _ in 0..8 { f.add(fresh(), "x").await.unwrap(); } }
    "an update for each": |f| { for id in 1..9 { f.rename(id, "x").await.unwrap(); } }
    "a delete for each": |f| { for id in 901..909 { f.remove(id).await.unwrap(); } }
    "within a transaction": |f| {
        let all = f.db.transaction(async |tx| {
            for id in 1..9 { f.seats_in(tx, id).await?; }
            diesel::QueryResult::Ok(())
        });
        all.await.unwrap();
    }
    "some twice, but five different": |f| { for id in [1, 1, 2, 2, 3, 4, 4, 5] { f.seats(id).await.unwrap(); } }
    "among other reads": |f| { for id in 1..9 { f.seats(id).await.unwrap(); f.count().await.unwrap(); } }
    "a loop in a loop": |f| {
        for airport in ["A1", "A2"] { for id in f.board(airport).await.unwrap().into_iter().take(3) { f.seats(id).await.unwrap(); } }
    }
};

const LOOK_ALIKES: &[(&str, Scene)] = scenes! {
    "the batch": |f| { let all = f.board("A1").await.unwrap(); f.seats_of_all(&all).await.unwrap(); }
    "four": |f| { for id in 1..=4 { f.seats(id).await.unwrap(); } }
    "one and the same again": |f| { for _ in 0..20 { f.seats(3).await.unwrap(); } }
    "the same from the cache": |f| { for _ in 0..20 { f.cached_seats(3).await.unwrap(); } }
    "pages by offset": |f| { for n in 0..10 { f.page("A1", n * 2).await.unwrap(); } }
    "pages by key": |f| { let mut last = 0; for _ in 0..10 { last = f.after(last).await.unwrap()[4]; } }
    "pages with the offset written in": |f| { for n in 0..10 { f.page_written_in(n * 3).await.unwrap(); } }
    "ranges": |f| { for n in 0..10 { f.between(n * 10, n * 10 + 10).await.unwrap(); } }
    "batches": |f| { for n in 0..10 { f.seats_of_all(&[n * 2, n * 2 + 1]).await.unwrap(); } }
    "batches of one": |f| { for n in 0..10 { f.seats_of_all(&[n]).await.unwrap(); } }
    "rows in batches": |f| { for _ in 0..8 { f.add_all(&[fresh(), fresh(), fresh()]).await.unwrap(); } }
    "different statements, pipelined": |f| { f.summary().await.unwrap(); }
    "different statements, twice": |f| { f.summary().await.unwrap(); f.summary().await.unwrap(); }
    "the progress of one row": |f| { for n in 0..10 { f.rename(5, &format!("step {n}")).await.unwrap(); } }
    "locks": |f| { for n in 0..10 { f.lock(n).await.unwrap(); } }
    "nothing to tell apart": |f| { for _ in 0..10 { f.count().await.unwrap(); } }
    "requests of their own": |f| {
        for id in 1..20 { Context::anonymous().scope(f.seats(id)).await.unwrap(); }
    }
    "some of each": |f| {
        f.board("A1").await.unwrap();
        for id in 1..=3 { f.seats(id).await.unwrap(); f.seat_count(id).await.unwrap(); f.first_seat(id).await.unwrap(); }
        f.rename(1, "x").await.unwrap();
        f.rename(2, "x").await.unwrap();
    }
    "a few inserts": |f| { for _ in 0..4 { f.add(fresh(), "x").await.unwrap(); } }
    "a transaction of different statements": |f| {
        let all = f.db.transaction(async |tx| {
            f.count_in(tx).await?;
            f.rename_in(tx, 1, "y").await?;
            f.add_in(tx, fresh(), "z").await?;
            diesel::QueryResult::Ok(())
        });
        all.await.unwrap();
    }
};

/// How often the instance has told of a repetition so far.
fn told(flights: &Flights) -> u64 {
    flights.db.status().insight.repeated.iter().map(|repeated| repeated.contexts).sum()
}

#[tokio::test]
async fn r01_5_the_corpus_is_told_apart() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    let (mut missed, mut false_alarms) = (Vec::new(), Vec::new());
    for (expected, scenes) in [(true, N_PLUS_ONE), (false, LOOK_ALIKES)] {
        for (name, scene) in scenes {
            let before = told(&flights);
            Context::anonymous().scope(scene(flights.clone())).await;
            match (expected, told(&flights) > before) {
                (true, false) => missed.push(*name),
                (false, true) => false_alarms.push(*name),
                _ => {}
            }
        }
    }
    let recall = 1.0 - missed.len() as f64 / N_PLUS_ONE.len() as f64;
    println!("recall {recall:.2}, missed {missed:?}; false alarms {false_alarms:?}");
    assert!(recall >= 0.95 && false_alarms.is_empty(), "missed {missed:?}, false alarms {false_alarms:?}");
}

#[tokio::test]
async fn r01_5_it_names_both_methods_and_writes_the_batch() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    let (log, _guard) = Log::keep();
    let request = async {
        for id in flights.board("A1").await.unwrap() {
            flights.seats(id).await.unwrap();
        }
    };
    Context::anonymous().scope(request).await;
    let status = flights.db.status().insight;
    let [found] = &status.repeated[..] else { panic!("{:#?}", status.repeated) };
    assert_eq!((found.method, found.outer), ("Flights::seats", Some("Flights::board")));
    assert_eq!((found.contexts, found.runs, found.most, found.from_cache), (1, 20, 20, 0));
    assert!(found.at.as_ref().unwrap().contains("repository.rs:") && found.outer_at.is_some() && found.lost_ms > 0.0);
    assert!(found.instead.contains("seats_of_all(&self, conn: &mut Conn, flight_ids: &[i64])"), "{}", found.instead);
    assert!(found.instead.contains("seats::flight_id.eq_any(flight_ids)"));
    let told = log.with("N+1: Flights::seats");
    assert!(told.len() == 1 && told[0].contains("20 times") && told[0].contains("after Flights::board"), "{told:?}");
    assert!(flights.db.runtime().metrics().contains(r#"dbopt_n_plus_one_total{method="Flights::seats"} 1"#));
}

#[tokio::test]
async fn r01_5_the_cache_does_not_hide_it() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    for id in 1..=8 {
        flights.cached_seats(id).await.unwrap();
    }
    assert!(flights.db.status().insight.repeated.is_empty(), "calls of no context belong to nothing");
    let (_, log) = QueryLog::of(async {
        for id in 1..=8 {
            flights.cached_seats(id).await.unwrap();
        }
    })
    .await;
    let found = log.repeated();
    assert_eq!((log.queries().len(), found.len()), (0, 1));
    assert_eq!((found[0].method(), found[0].runs(), found[0].from_cache()), ("Flights::cached_seats", 8, 8));
}

#[tokio::test]
async fn r01_5_a_test_can_assert_it() {
    let cluster = cluster(0).await;
    let flights = flights(&cluster, |_| ()).await;
    assert_no_n_plus_one(flights.seats_of_all(&[1, 2, 3])).await.unwrap();
    let bad = assert_no_n_plus_one(async {
        for id in 1..9 {
            flights.seats(id).await.unwrap();
        }
    });
    let panic = std::panic::AssertUnwindSafe(bad).catch_unwind().await.unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("N+1: Flights::seats") && text.contains("repeated.rs:"), "{text}");
}
