//! The pool and an annotated read beside their peers: `cargo bench`, or `cargo bench -- acquire` and `cargo bench -- reads`.
#![allow(missing_docs, clippy::expect_used)]

mod acquire;
mod common;
mod reads;

use dbopt_tests::measure::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    if wanted("acquire") {
        acquire::run_all().await;
    }
    if wanted("reads") {
        reads::run_all().await;
    }
}
