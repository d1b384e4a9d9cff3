//! Invalidations that Redis has not heard of yet. Pure.

use std::collections::BTreeMap;

use crate::position::Position;

/// Failed invalidations, until they are delivered: merged per tag, bounded, and one for everything beyond the bound.
#[derive(Debug)]
pub(super) struct Journal {
    tags: BTreeMap<String, Entry>,
    everything: Option<Entry>,
    bound: usize,
    /// Tells a delivered entry from one that changed while it was being delivered.
    version: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: Option<Position>,
    version: u64,
}

/// What is to be delivered next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    Tags { tags: Vec<String>, position: Option<Position>, version: u64 },
    Everything { position: Option<Position>, version: u64 },
}

impl Journal {
    pub(super) fn new(bound: usize) -> Self {
        Self { tags: BTreeMap::new(), everything: None, bound, version: 0 }
    }

    pub(super) fn add(&mut self, tags: &[String], position: Option<Position>) {
        self.version += 1;
        let version = self.version;
        if let Some(everything) = &mut self.everything {
            *everything = Entry { position: Position::later(everything.position, position), version };
            return;
        }
        for tag in tags {
            let entry = self.tags.entry(tag.clone()).or_insert(Entry { position, version });
            *entry = Entry { position: Position::later(entry.position, position), version };
        }
        if self.tags.len() > self.bound {
            self.add_everything(None);
        }
    }

    /// Everything is to be invalidated.
    pub(super) fn add_everything(&mut self, position: Option<Position>) {
        self.version += 1;
        let all = self
            .tags
            .values()
            .chain(&self.everything)
            .fold(position, |latest, entry| Position::later(latest, entry.position));
        self.everything = Some(Entry { position: all, version: self.version });
        self.tags.clear();
    }

    /// Whether one of the tags waits to be delivered.
    pub(super) fn holds(&self, tags: &[String]) -> bool {
        self.everything.is_some() || tags.iter().any(|tag| self.tags.contains_key(tag))
    }

    /// The latest position that waits for one of the tags.
    pub(super) fn position(&self, tags: &[String]) -> Option<Position> {
        let entries = tags.iter().filter_map(|tag| self.tags.get(tag)).chain(&self.everything);
        entries.fold(None, |latest, entry| Position::later(latest, entry.position))
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len() + usize::from(self.everything.is_some())
    }

    /// At most `limit` tags that share a position, or everything.
    pub(super) fn next(&self, limit: usize) -> Option<Delivery> {
        if let Some(Entry { position, .. }) = self.everything {
            return Some(Delivery::Everything { position, version: self.version });
        }
        let position = self.tags.values().next()?.position;
        let alike = self.tags.iter().filter(|(_, entry)| entry.position == position);
        let tags = alike.take(limit).map(|(tag, _)| tag.clone()).collect();
        Some(Delivery::Tags { tags, position, version: self.version })
    }

    /// Notes what Redis has heard of; what was added meanwhile stays.
    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Everything { version, .. } => {
                self.everything = self.everything.filter(|entry| entry.version > *version);
            }
            Delivery::Tags { tags, version, .. } => {
                for tag in tags {
                    if self.tags.get(tag).is_some_and(|entry| entry.version <= *version) {
                        self.tags.remove(tag);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Lsn;

    fn tags(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn at(lsn: u64) -> Option<Position> {
        Some(Position { timeline: 1, lsn: Lsn(lsn) })
    }

    #[test]
    fn invalidations_of_a_tag_merge_to_the_latest_position() {
        let mut journal = Journal::new(10);
        journal.add(&tags(&["a", "b"]), at(5));
        journal.add(&tags(&["a"]), at(3));
        journal.add(&tags(&["a"]), None);
        assert_eq!((journal.len(), journal.position(&tags(&["a"]))), (2, at(5)));
        assert!(journal.holds(&tags(&["x", "b"])) && !journal.holds(&tags(&["x"])));
    }

    #[test]
    fn what_was_added_during_a_delivery_stays() {
        let mut journal = Journal::new(10);
        journal.add(&tags(&["a", "b"]), at(5));
        let delivery = journal.next(10).unwrap();
        journal.add(&tags(&["a"]), at(9));
        journal.delivered(&delivery);
        assert_eq!((journal.len(), journal.position(&tags(&["a"]))), (1, at(9)));
        journal.delivered(&journal.next(10).unwrap());
        assert_eq!(journal.next(10), None);
    }

    #[test]
    fn beyond_the_bound_it_is_everything() {
        let mut journal = Journal::new(2);
        journal.add(&tags(&["a", "b", "c"]), at(7));
        assert!(journal.holds(&tags(&["anything"])));
        assert_eq!((journal.len(), journal.position(&[])), (1, at(7)));
        let delivery = journal.next(1).unwrap();
        journal.add(&tags(&["d"]), at(8));
        journal.delivered(&delivery);
        assert!(journal.holds(&[]), "d came after the delivery began");
        journal.delivered(&journal.next(1).unwrap());
        assert_eq!(journal.len(), 0);
    }
}
