//! What the history says of each version. Pure.

use std::time::Duration;

/// How an entry of the history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Begun; of what runs alone this is all there is until it has ended.
    Started,
    /// Went forward.
    Applied,
    /// Was taken back.
    Reverted,
    /// Failed, and left nothing behind.
    Failed,
    /// Was there before this history began.
    Adopted,
    /// Its scripts were edited afterwards, and somebody said that this is right.
    Accepted,
}

impl Outcome {
    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Started => "started",
            Outcome::Applied => "applied",
            Outcome::Reverted => "reverted",
            Outcome::Failed => "failed",
            Outcome::Adopted => "adopted",
            Outcome::Accepted => "accepted",
        }
    }

    /// The outcome of that name.
    pub fn of(name: &str) -> Option<Outcome> {
        [Outcome::Started, Outcome::Applied, Outcome::Reverted, Outcome::Failed, Outcome::Adopted, Outcome::Accepted]
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }

    /// Whether it says what the scripts of an applied version are.
    pub const fn vouches(self) -> bool {
        matches!(self, Outcome::Applied | Outcome::Adopted | Outcome::Accepted)
    }
}

/// One entry: who ran what, when, where, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number; later ones are higher.
    pub id: i64,
    /// The version.
    pub version: String,
    /// The migration's name.
    pub name: String,
    /// `up` or `down`.
    pub direction: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The checksum of `up.sql`.
    pub up_checksum: String,
    /// The checksum of `down.sql`, if there was one.
    pub down_checksum: Option<String>,
    /// The text of `up.sql`.
    pub up: String,
    /// The text of `down.sql`, if there was one.
    pub down: Option<String>,
    /// The database user, and who ran the command where.
    pub by: String,
    /// When it began, by the server's clock, as text.
    pub at: String,
    /// How long it took.
    pub took: Duration,
    /// The server: address, version, timeline.
    pub server: String,
    /// The receipt it was applied with.
    pub receipt: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// The entry that says what the scripts of `version` were when they were applied.
pub fn vouching<'a>(entries: &'a [Entry], version: &str) -> Option<&'a Entry> {
    entries.iter().filter(|entry| entry.version == version && entry.outcome.vouches()).max_by_key(|entry| entry.id)
}

/// What was begun alone and never ended: the last entry of its version is its start.
pub fn unfinished<'a>(entries: &'a [Entry], version: &str) -> Option<&'a Entry> {
    let last = entries.iter().filter(|entry| entry.version == version).max_by_key(|entry| entry.id)?;
    (last.outcome == Outcome::Started).then_some(last)
}
