//! Checks of rate limits beside their peers, in alternating rounds: `cargo bench -p dbopt-tests --bench limits`.
//!
//! `-- local` and `-- redis` run one half. `BENCH_ROUNDS` and `BENCH_MILLIS` make it shorter; `BENCH_ONLY=0` runs one contender of the
//! local part alone on one thread, for an instruction counter.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;
mod distributed;
mod local;

fn main() {
    if let Ok(which) = std::env::var("BENCH_ONLY") {
        return local::only(which.parse().expect("a contender's number"));
    }
    let asked = |part: &str| std::env::args().any(|argument| argument == part);
    if !asked("redis") {
        local::run();
    }
    if !asked("local") {
        distributed::run();
    }
}
