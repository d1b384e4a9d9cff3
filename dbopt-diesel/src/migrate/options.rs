//! How far to go, and what is told about it afterwards.

use std::time::Duration;

use dbopt_core::schema::history::Entry;
use dbopt_core::schema::migration::Direction;
use dbopt_core::schema::plan::Plan;

/// How far to go forward.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// The last version to apply; all without.
    pub to: Option<String>,
    /// Versions that were edited or removed after they were applied, and are right as they are now.
    pub accept_drift: Vec<String>,
    /// Whether versions that are newer than all of ours are those of a later release, and no drift.
    pub newer_is_fine: bool,
    /// Whether tables that lose data are copied first.
    pub backup: bool,
}

/// How far to go back.
#[derive(Debug, Clone, Default)]
pub struct Back {
    /// How many versions; 1 without `to`.
    pub steps: Option<usize>,
    /// The version that is to be the last one then.
    pub to: Option<String>,
    /// Whether data may be lost.
    pub accept_data_loss: bool,
    /// Whether tables that lose data are copied first.
    pub backup: bool,
}

/// What is applied, what is to be, and what does not agree.
#[derive(Debug, Clone)]
pub struct Status {
    /// Every version.
    pub plan: Plan,
    /// Everything that was ever run, oldest first.
    pub history: Vec<Entry>,
    /// The primary: address, version, timeline.
    pub server: String,
}

/// What was run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The scripts, in order.
    pub ran: Vec<Ran>,
    /// The primary: address, version, timeline.
    pub server: String,
    /// Copies that were made of what was lost.
    pub backups: Vec<String>,
    /// Replicas that had not replayed it all when nobody waited any longer, each with its reason.
    pub late_replicas: Vec<String>,
}

/// A script that was run.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The version.
    pub version: String,
    /// The name.
    pub name: String,
    /// Forward or back.
    pub direction: Direction,
    /// How long it took.
    pub took: Duration,
}
