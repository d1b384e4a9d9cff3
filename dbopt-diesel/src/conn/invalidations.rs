//! Tags of cached results that an open transaction makes untrue.

use diesel::result::QueryResult;
use parking_lot::Mutex;

/// What is to be invalidated once the outermost transaction commits.
#[derive(Default)]
pub(super) struct Invalidations(Mutex<State>);

#[derive(Default)]
struct State {
    tags: Vec<String>,
    /// Savepoints, with how many tags there were when each was set.
    savepoints: Vec<(String, usize)>,
}

impl Invalidations {
    pub(super) fn add(&self, tags: Vec<String>) {
        self.0.lock().tags.extend(tags);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().tags.is_empty()
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock()).tags
    }

    /// Follows the statements that set savepoints and roll back.
    pub(super) fn ran<T>(&self, statement: &str, result: &QueryResult<T>) {
        if result.is_err() {
            return;
        }
        if let Some(name) = statement.strip_prefix("SAVEPOINT ") {
            let mut state = self.0.lock();
            let tags = state.tags.len();
            state.savepoints.push((name.to_owned(), tags));
        } else if let Some(name) = statement.strip_prefix("ROLLBACK TO SAVEPOINT ") {
            let mut state = self.0.lock();
            // The savepoint itself stays, as on the server; one of the same name hides earlier ones.
            if let Some(place) = state.savepoints.iter().rposition(|(known, _)| known == name) {
                let tags = state.savepoints[place].1;
                state.tags.truncate(tags);
                state.savepoints.truncate(place + 1);
            }
        } else if statement == "ROLLBACK" {
            drop(self.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    #[test]
    fn a_savepoint_that_is_rolled_back_takes_its_tags_with_it() {
        let pending = Invalidations::default();
        pending.add(tag("a"));
        pending.ran("SAVEPOINT diesel_savepoint_1", &Ok(()));
        pending.add(tag("b"));
        pending.ran("SAVEPOINT diesel_savepoint_2", &Ok(()));
        pending.add(tag("c"));
        pending.ran("ROLLBACK TO SAVEPOINT diesel_savepoint_1", &Ok(()));
        pending.add(tag("d"));
        assert_eq!(pending.take(), ["a", "d"]);
    }

    #[test]
    fn a_savepoint_that_is_released_leaves_its_tags() {
        let pending = Invalidations::default();
        pending.ran("SAVEPOINT diesel_savepoint_1", &Ok(()));
        pending.add(tag("a"));
        pending.ran("RELEASE SAVEPOINT diesel_savepoint_1", &Ok(()));
        pending.ran("SAVEPOINT diesel_savepoint_1", &Ok(()));
        pending.add(tag("b"));
        pending.ran("ROLLBACK TO SAVEPOINT diesel_savepoint_1", &Ok(()));
        assert_eq!(pending.take(), ["a"]);
    }

    #[test]
    fn a_rollback_leaves_nothing_and_a_failed_one_everything() {
        let pending = Invalidations::default();
        pending.add(tag("a"));
        pending.ran("ROLLBACK", &Err::<(), _>(diesel::result::Error::NotFound));
        assert!(!pending.is_empty());
        pending.ran("ROLLBACK", &Ok(()));
        assert!(pending.is_empty());
    }
}
