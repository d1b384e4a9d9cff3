//! Answers from memory beside the peers': `cargo bench -p dbopt-core --bench l1`, or with `-- hits`, `-- loads`,
//! `-- flights` or `-- ratios` behind it. `BENCH_ROUNDS` and `BENCH_MILLIS` make it shorter.
#![allow(missing_docs, clippy::expect_used)]

mod common;
mod flights;
mod hits;
mod loads;
mod ratios;

#[global_allocator]
static ALLOCATOR: common::Counting = common::Counting;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    if wanted("hits") {
        hits::run_all().await;
    }
    if wanted("loads") {
        loads::run_all().await;
    }
    if wanted("flights") {
        flights::run_all().await;
    }
    if wanted("ratios") {
        ratios::run_all();
    }
}
