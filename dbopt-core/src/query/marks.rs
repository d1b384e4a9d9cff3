//! Which tables are not what they were: each has a mark that its server makes of its statistics and its schema. Pure.

use std::collections::{BTreeSet, HashMap};

/// The marks that were told last.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<String, String>);

impl Marks {
    /// Those of these tables that have none.
    pub(super) fn unmarked<'t>(&self, tables: impl Iterator<Item = &'t str>) -> Vec<String> {
        let without: BTreeSet<&str> = tables.filter(|table| !self.0.contains_key(*table)).collect();
        without.into_iter().map(str::to_owned).collect()
    }

    /// Takes the answer for the tables that were `asked` for; gives those of which another mark was known. One that is gone is one of them.
    pub(super) fn take(&mut self, asked: &[String], told: Vec<(String, String)>) -> BTreeSet<String> {
        let told: HashMap<String, String> = told.into_iter().collect();
        let mut changed = BTreeSet::new();
        for table in asked {
            let before = match told.get(table) {
                Some(mark) => self.0.insert(table.clone(), mark.clone()).filter(|before| before != mark),
                None => self.0.remove(table),
            };
            if before.is_some() {
                changed.insert(table.clone());
            }
        }
        changed
    }

    /// Forgets all but these.
    pub(super) fn keep(&mut self, tables: &BTreeSet<String>) {
        self.0.retain(|table, _| tables.contains(table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(table, mark)| ((*table).to_owned(), (*mark).to_owned())).collect()
    }

    #[test]
    fn what_has_another_mark_or_is_gone_has_changed() {
        let mut marks = Marks::default();
        let all = ["a", "b"].map(str::to_owned);
        assert!(marks.take(&all, told(&[("a", "1"), ("b", "1")])).is_empty(), "the first time is no change");
        assert!(marks.take(&all, told(&[("a", "1"), ("b", "1")])).is_empty());
        assert!(marks.take(&all, told(&[("a", "2"), ("b", "1")])).iter().eq(["a"]));
        assert!(marks.take(&all[..1], told(&[("a", "3")])).iter().eq(["a"]), "b was not asked for");
        assert!(marks.take(&all, told(&[("a", "3")])).iter().eq(["b"]), "it is gone");
        assert!(marks.take(&all, told(&[("a", "3")])).is_empty(), "and told once");
        assert_eq!(marks.unmarked(["b", "a", "c", "c"].into_iter()), ["b", "c"]);
        marks.keep(&BTreeSet::new());
        assert_eq!(marks.unmarked(["a"].into_iter()), ["a"]);
    }
}
