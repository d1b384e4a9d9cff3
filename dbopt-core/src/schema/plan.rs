//! What is to be run, and what does not agree with what was. Pure.

use similar::TextDiff;

use super::history::{Entry, unfinished, vouching};
use super::migration::{Direction, Migration};

/// What a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Applied, and its scripts are what they were.
    Applied,
    /// To be applied.
    Pending,
    /// Applied, and edited afterwards.
    Edited,
    /// Applied, and its folder is gone.
    Missing,
    /// To be applied although a later one was: it came in by a merge.
    OutOfOrder,
    /// Applied, and its way back was begun outside of a transaction and has not ended.
    HalfBack,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Edited => "EDITED",
            State::Missing => "MISSING",
            State::OutOfOrder => "pending, out of order",
            State::HalfBack => "HALF TAKEN BACK",
        }
    }

    /// Whether it is to be applied.
    pub const fn is_pending(self) -> bool {
        matches!(self, State::Pending | State::OutOfOrder)
    }
}

/// A version that is not what was applied, with the difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The version.
    pub version: String,
    /// Its file or folder.
    pub file: String,
    /// Edited or missing.
    pub state: State,
    /// The difference, as `diff -u` shows it.
    pub diff: String,
}

/// A line of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The version.
    pub version: String,
    /// The name.
    pub name: String,
    /// What it is.
    pub state: State,
}

/// What is to be run, and what keeps it from being run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every version that is known, in order.
    pub lines: Vec<Line>,
    /// What does not agree.
    pub drift: Vec<Drift>,
}

impl Plan {
    /// The versions to be applied, in order.
    pub fn pending(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(|line| line.state.is_pending()).map(|line| line.version.as_str())
    }

    /// The versions whose way back was begun and has not ended.
    pub fn half_back(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.state == State::HalfBack)
    }

    /// Whether everything is applied, and nothing else is to be said.
    pub fn is_settled(&self) -> bool {
        self.drift.is_empty() && self.pending().next().is_none() && self.half_back().next().is_none()
    }

    /// Compares the folder with the versions that are applied and the history.
    pub fn of(migrations: &[Migration], applied: &[String], entries: &[Entry]) -> Plan {
        let mut plan = Plan::default();
        let last = applied.iter().max();
        for migration in migrations {
            let state = if !applied.contains(&migration.version) {
                if last.is_some_and(|last| *last > migration.version) { State::OutOfOrder } else { State::Pending }
            } else if unfinished(entries, &migration.version).is_some() {
                State::HalfBack
            } else if let Some(drift) = vouching(entries, &migration.version).and_then(|was| edited(migration, was)) {
                plan.drift.push(drift);
                State::Edited
            } else {
                State::Applied
            };
            let Migration { version, name, .. } = migration;
            plan.lines.push(Line { version: version.clone(), name: name.clone(), state });
        }
        for version in applied.iter().filter(|version| migrations.iter().all(|m| m.version != **version)) {
            let was = vouching(entries, version);
            let name = was.map_or_else(|| version.clone(), |was| was.name.clone());
            let diff = was.map_or_else(String::new, |was| unified(&was.up, "", &format!("{name}/up.sql")));
            plan.drift.push(Drift { version: version.clone(), file: name.clone(), state: State::Missing, diff });
            plan.lines.push(Line { version: version.clone(), name, state: State::Missing });
        }
        plan.lines.sort_by(|a, b| a.version.cmp(&b.version));
        plan
    }
}

/// A way back that was written since is no drift; one that was changed is.
fn edited(migration: &Migration, was: &Entry) -> Option<Drift> {
    let mut diff = String::new();
    let mut file = None;
    if Migration::checksum(&migration.up) != was.up_checksum {
        file = Some(migration.file(Direction::Up));
        diff.push_str(&unified(&was.up, &migration.up, &migration.file(Direction::Up)));
    }
    if let Some(before) = &was.down
        && migration.down.as_deref().map(Migration::checksum) != was.down_checksum
    {
        file.get_or_insert_with(|| migration.file(Direction::Down));
        let now = migration.down.as_deref().unwrap_or_default();
        diff.push_str(&unified(before, now, &migration.file(Direction::Down)));
    }
    let file = file?;
    Some(Drift { version: migration.version.clone(), file, state: State::Edited, diff })
}

fn unified(before: &str, now: &str, file: &str) -> String {
    let (before, now) = (before.replace("\r\n", "\n"), now.replace("\r\n", "\n"));
    let diff = TextDiff::from_lines(&before, &now);
    diff.unified_diff().header(&format!("{file} (applied)"), &format!("{file} (now)")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::history::Outcome;

    fn migration(version: &str, up: &str, down: Option<&str>) -> Migration {
        let down = down.map(str::to_owned);
        Migration { version: version.into(), name: format!("{version}_x"), up: up.into(), down, in_transaction: true }
    }

    fn entry(id: i64, of: &Migration, outcome: Outcome) -> Entry {
        Entry {
            id,
            version: of.version.clone(),
            name: of.name.clone(),
            direction: "up".into(),
            outcome,
            up_checksum: Migration::checksum(&of.up),
            down_checksum: of.down.as_deref().map(Migration::checksum),
            up: of.up.clone(),
            down: of.down.clone(),
            by: String::new(),
            at: String::new(),
            took: std::time::Duration::ZERO,
            server: String::new(),
            receipt: None,
            error: None,
        }
    }

    fn states(migrations: &[Migration], applied: &[&str], entries: &[Entry]) -> Vec<State> {
        let applied: Vec<String> = applied.iter().map(ToString::to_string).collect();
        Plan::of(migrations, &applied, entries).lines.into_iter().map(|line| line.state).collect()
    }

    #[test]
    fn what_is_pending_edited_missing_and_out_of_order() {
        let all = [migration("1", "a", None), migration("2", "b", None), migration("3", "c", None)];
        assert_eq!(states(&all, &["1"], &[]), [State::Applied, State::Pending, State::Pending]);
        assert_eq!(
            states(&all, &["1", "3"], &[]),
            [State::Applied, State::OutOfOrder, State::Pending].map(|s| if s == State::Pending {
                State::Applied
            } else {
                s
            })
        );
        assert_eq!(states(&all[1..], &["1"], &[]), [State::Missing, State::Pending, State::Pending]);
        let was = entry(1, &migration("1", "before\n", None), Outcome::Applied);
        let plan = Plan::of(&all, &["1".into()], std::slice::from_ref(&was));
        assert_eq!(plan.lines[0].state, State::Edited);
        assert!(plan.drift[0].diff.contains("-before") && plan.drift[0].diff.contains("+a"), "{}", plan.drift[0].diff);
        let accepted = entry(2, &all[0], Outcome::Accepted);
        assert!(Plan::of(&all, &["1".into()], &[was, accepted]).drift.is_empty());
    }

    #[test]
    fn a_way_back_may_be_added_but_not_changed() {
        let without = entry(1, &migration("1", "a", None), Outcome::Applied);
        let with = entry(1, &migration("1", "a", Some("x")), Outcome::Applied);
        let now = [migration("1", "a", Some("y"))];
        assert_eq!(states(&now, &["1"], &[without]), [State::Applied]);
        assert_eq!(states(&now, &["1"], &[with]), [State::Edited]);
    }

    #[test]
    fn a_way_back_that_was_cut_off_is_told() {
        let all = [migration("1", "a", Some("b"))];
        let entries = [entry(1, &all[0], Outcome::Applied), entry(2, &all[0], Outcome::Started)];
        assert_eq!(states(&all, &["1"], &entries), [State::HalfBack]);
        assert!(!Plan::of(&all, &["1".into()], &entries).is_settled());
        // One that was cut off on its way forward is to be applied.
        assert_eq!(states(&all, &[], &entries[1..]), [State::Pending]);
    }

    #[test]
    fn a_failure_vouches_for_nothing() {
        let failed = entry(1, &migration("1", "other", None), Outcome::Failed);
        assert_eq!(states(&[migration("1", "a", None)], &["1"], &[failed]), [State::Applied]);
    }
}
