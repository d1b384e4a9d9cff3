//! The rows of dbopt-core, as ARCHITECTURE.md draws them.

/// Rooms that are folders, and files that are not vocabulary, from the lowest row up. A room imports only from rows
/// below its own; rooms on one row do not see each other.
const ROWS: &[&[&str]] = &[
    // Row 0 is the vocabulary: every file directly in src/ that is not named here. Its files may see each other.
    &[],
    &["backend", "observe", "redis_link"],
    &["breaker"],
    &["pool", "alert"],
    &["cluster", "failover"],
    &["route"],
    &["limit", "cache", "query", "schema"],
    &["runtime"],
    &["__private"],
];

/// Where another crate may be named in dbopt-core; nothing but these modules and what is inside them.
pub(super) struct Confined {
    pub(super) name: &'static str,
    pub(super) modules: &'static [&'static str],
}

pub(super) const CONFINED: &[Confined] = &[
    Confined { name: "bb8", modules: &["pool"] },
    Confined { name: "cached", modules: &["cache/l1"] },
    Confined { name: "quick_cache", modules: &["cache/l1"] },
    Confined { name: "redis", modules: &["cache/l2", "cache/backplane", "limit/remote", "redis_link"] },
    Confined { name: "lettre", modules: &["alert/channel"] },
    Confined { name: "hyper_util", modules: &["alert/channel", "cluster/host", "cluster/patroni"] },
    Confined { name: "sqlparser", modules: &["query/advise", "schema/lint"] },
    Confined { name: "diesel", modules: &[] },
    Confined { name: "diesel_async", modules: &[] },
    Confined { name: "diesel_migrations", modules: &[] },
    Confined { name: "tokio_postgres", modules: &[] },
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Room<'a> {
    pub(super) name: &'a str,
    pub(super) row: usize,
}

pub(super) const VOCABULARY: Room<'static> = Room { name: "vocabulary", row: 0 };

impl Room<'_> {
    pub(super) fn may_import(self, other: Room<'_>) -> bool {
        self == other || other.row < self.row
    }
}

/// The room of a top-level module that is in the table.
pub(super) fn in_table(name: &str) -> Option<Room<'_>> {
    let row = ROWS.iter().position(|row| row.contains(&name))?;
    Some(Room { name, row })
}
