//! The migrations of an application as they pile up over the years: tables that come, change and go, and all that hangs on them. Always the same
//! ones, each of which can be run after those before it.

mod beside;
mod model;
mod tables;

use crate::migrations::Folder;
use fastrand::Rng;
use model::Model;

/// One migration.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its name, with the version.
    pub name: String,
    /// Its `up.sql`.
    pub up: String,
    /// Whether it cannot run in a transaction.
    pub alone: bool,
}

/// Something that an application's developers do: none if there is nothing to do it to.
type Act = fn(&mut Model, &mut Rng) -> Option<Done>;

/// What was done: a name, the SQL, whether it stands outside of a transaction.
struct Done {
    what: String,
    up: String,
    alone: bool,
}

impl Done {
    fn new(what: impl Into<String>, up: impl Into<String>) -> Option<Done> {
        Some(Done { what: what.into(), up: up.into(), alone: false })
    }

    fn alone(what: impl Into<String>, up: impl Into<String>) -> Option<Done> {
        Some(Done { what: what.into(), up: up.into(), alone: true })
    }
}

/// How often each is done, in comparison.
const ACTS: [(usize, Act); 30] = [
    (10, tables::create),
    (14, tables::add_column),
    (7, tables::rename_column),
    (7, tables::change_type),
    (5, tables::change_default),
    (5, tables::change_not_null),
    (6, tables::drop_column),
    (3, tables::rename),
    (2, tables::drop_table),
    (3, tables::split),
    (5, tables::fill),
    (2, tables::partitioned),
    (3, tables::add_partition),
    (5, beside::check),
    (4, beside::validate),
    (5, beside::foreign_key),
    (5, beside::index),
    (7, beside::index_concurrently),
    (3, beside::drop_index_concurrently),
    (4, beside::enumeration),
    (4, beside::enum_value),
    (2, beside::rename_enum_value),
    (5, beside::view),
    (3, beside::replace_view),
    (2, beside::drop_view),
    (2, beside::materialized),
    (4, beside::function),
    (4, beside::trigger),
    (3, beside::comment),
    (3, beside::rights),
];

/// The first `count` of them; the role `reader` must be there.
pub fn application(count: usize) -> Vec<Change> {
    let (mut random, mut model) = (Rng::with_seed(8), Model::default());
    let whole: usize = ACTS.iter().map(|(often, _)| often).sum();
    let mut all: Vec<Change> = Vec::new();
    while all.len() < count {
        let mut drawn = random.usize(..whole);
        let act = ACTS.iter().find(|(often, _)| {
            let is_it = drawn < *often;
            drawn = drawn.saturating_sub(*often);
            is_it
        });
        let act = if all.len() < 6 { tables::create } else { act.map_or(tables::create as Act, |(_, act)| *act) };
        if let Some(Done { what, up, alone }) = act(&mut model, &mut random) {
            let (i, year) = (all.len(), 2021 + all.len() / 60);
            let name = format!("{year}-{:02}-{:02}-{:06}_{what}", 1 + i % 60 / 5, 1 + i % 5 * 5, i);
            all.push(Change { name, up, alone });
        }
    }
    all
}

/// A folder of the first `count` of them, without ways back.
pub fn folder(count: usize) -> Folder {
    let folder = Folder::new();
    for Change { name, up, alone } in application(count) {
        if alone { folder.add_alone(&name, &up, "") } else { folder.add(&name, &up, "") }
    }
    folder
}
