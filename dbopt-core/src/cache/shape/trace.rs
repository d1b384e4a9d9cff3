//! What was noted of a type, and which made-up value comes next.

use std::collections::{BTreeSet, HashMap};

use super::Hasher;

/// Values that types check their text against, in the order they are tried.
pub(super) const TEXTS: [&str; 11] = [
    "",
    "0",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00",
    "2000-01-01",
    "00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "http://localhost/",
    "a",
    "a@example.org",
];

/// The state of all passes over one type.
#[derive(Default)]
pub(super) struct Trace {
    noted: BTreeSet<String>,
    /// Where in the type we are.
    pub(super) path: String,
    /// The named types we are inside of.
    pub(super) inside: Vec<&'static str>,
    choices: HashMap<String, Choice>,
    /// The choices of this pass, in order.
    made: Vec<String>,
    /// A variant of each enum that could be made up.
    simple: HashMap<&'static str, u32>,
}

struct Choice {
    taken: u32,
    options: u32,
    /// An enum's variants are all to be seen; other choices stay with what pleases.
    variants_of: Option<&'static str>,
    accepted: Option<u32>,
    exhausted: bool,
}

impl Trace {
    pub(super) fn note(&mut self, what: &str) {
        self.noted.insert(format!("{} {what}", self.path));
    }

    /// Which of `options` to take here.
    pub(super) fn choose(&mut self, what: &str, options: u32) -> u32 {
        self.take(format!("{} {what}", self.path), options, None)
    }

    pub(super) fn choose_variant(&mut self, name: &'static str, variants: u32) -> u32 {
        self.take(format!("{} variant", self.path), variants, Some(name))
    }

    /// A variant of the enum that does not contain the enum itself, if one was found.
    pub(super) fn simple_variant(&self, name: &'static str) -> Option<u32> {
        self.simple.get(name).copied()
    }

    fn take(&mut self, place: String, options: u32, variants_of: Option<&'static str>) -> u32 {
        let fresh = Choice { taken: 0, options, variants_of, accepted: None, exhausted: false };
        let taken = self.choices.entry(place.clone()).or_insert(fresh).taken;
        self.made.push(place);
        taken
    }

    /// Prepares the next pass; `false` when there is nothing left to try.
    pub(super) fn next_pass(&mut self, accepted: bool) -> bool {
        self.path.clear();
        self.inside.clear();
        let made = std::mem::take(&mut self.made);
        if accepted {
            let mut more = false;
            for place in &made {
                let Some(choice) = self.choices.get_mut(place) else { continue };
                let Some(name) = choice.variants_of else { continue };
                self.simple.entry(name).or_insert(choice.taken);
                choice.accepted.get_or_insert(choice.taken);
                more |= choice.advance();
            }
            return more;
        }
        // The last value that was made up is the likeliest to be what displeased.
        made.iter().rev().any(|place| self.choices.get_mut(place).is_some_and(Choice::advance))
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::default();
        self.noted.iter().for_each(|line| hasher.text(line));
        hasher.finish()
    }
}

impl Choice {
    /// Goes to the next option; `false` when all were tried, each once.
    fn advance(&mut self) -> bool {
        if self.exhausted {
            return false;
        }
        self.taken += 1;
        if self.taken < self.options {
            return true;
        }
        self.exhausted = true;
        self.taken = self.accepted.unwrap_or(0);
        // Coming back to what was accepted can still please where the last option did not.
        false
    }
}
