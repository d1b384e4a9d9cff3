//! What it costs to count a call, and to be scraped: `cargo bench -p dbopt-core --bench record`, or with `-- calls` or `-- scrape`
//! behind it. `BENCH_ROUNDS` and `BENCH_MILLIS` make it shorter; `BENCH_ONLY=0` runs one contender alone for an instruction counter,
//! `BENCH_CALLS` times.
#![allow(missing_docs, clippy::expect_used)]

mod calls;
#[path = "../measure/mod.rs"]
mod measure;
mod scrape;

#[global_allocator]
static ALLOCATOR: measure::Counting = measure::Counting;

fn main() {
    if let Some(which) = std::env::var("BENCH_ONLY").ok().and_then(|text| text.parse().ok()) {
        return calls::run_one(which);
    }
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    if wanted("calls") {
        calls::run_all();
    }
    if wanted("scrape") {
        scrape::run_all();
    }
}
