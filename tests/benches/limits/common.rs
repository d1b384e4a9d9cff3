//! What both halves share.

use dbopt_diesel::core::limit::{Config, Limited};
use dbopt_diesel::core::rate::Rates;
use dbopt_diesel::{Intent, Op};

pub(crate) static OP: Op = Op::new("Bench::check", Intent::Read);
pub(crate) static LIMITED: Limited = Limited::new(&OP);

pub(crate) const USERS: usize = 10_000;

pub(crate) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Limits that admit everything that is asked here, so that all contenders do the same.
pub(crate) fn config() -> Config {
    let plenty: Rates = "900000000/min".parse().expect("a rate");
    Config { per_user: plenty.clone(), global: plenty, ..Config::default() }
}

pub(crate) fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.3} [{:.3}-{:.3}]", values[values.len() / 2], values[0], values[values.len() - 1])
}

/// The processor time of this process so far, in seconds.
pub(crate) fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit(") ").next().unwrap_or_default();
    let ticks = |at: usize| after.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// Scattered users, the same for all.
pub(crate) fn user(i: usize) -> usize {
    (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % USERS
}
