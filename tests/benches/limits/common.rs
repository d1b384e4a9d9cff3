//! What both halves share.

use dbopt_diesel::core::limit::{Config, Limited};
use dbopt_diesel::core::rate::Rates;
use dbopt_diesel::{Intent, Op};

pub(crate) static OP: Op = Op::new("Bench::check", Intent::Read);
pub(crate) static LIMITED: Limited = Limited::new(&OP);

pub(crate) const USERS: usize = 10_000;

/// Limits that admit everything that is asked here, so that all contenders do the same.
pub(crate) fn config() -> Config {
    let plenty: Rates = "900000000/min".parse().expect("a rate");
    Config { per_user: plenty.clone(), global: plenty, ..Config::default() }
}

/// Scattered users, the same for all.
pub(crate) fn user(i: usize) -> usize {
    (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % USERS
}
