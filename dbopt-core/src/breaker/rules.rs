//! What counts as a failure of the node: decided by SQLSTATE, and by what became of the connection. Pure.

use super::state::Failure;
use crate::backend::{ConnectError, Fault, FaultKind};
use crate::error::{Reason, SqlState};

/// Which errors count. The table is in the book, under "Resilience".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    count: Vec<Pattern>,
    ignore: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Code([u8; 5]),
    Class([u8; 2]),
}

/// Ends of a session that say nothing about the node: the database was dropped, a session or a transaction idled for too long, a password
/// was refused.
const OF_THE_SESSION: [&[u8; 5]; 6] = [b"57P04", b"57P05", b"25P03", b"25P04", b"28000", b"28P01"];

impl Rules {
    /// The built-in rules with a user's own before them.
    ///
    /// # Errors
    /// For what is no SQLSTATE and no class of them, and for what is counted and ignored at once.
    pub fn new(count: &[String], ignore: &[String]) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut read = |key: &str, texts: &[String]| -> Vec<Pattern> {
            let patterns = texts.iter().map(|text| Pattern::read(text).ok_or(text));
            let (good, bad): (Vec<_>, Vec<_>) = patterns.partition(Result::is_ok);
            problems.extend(bad.into_iter().filter_map(Result::err).map(|text| {
                format!(
                    "breaker.{key} contains {text:?}: write a SQLSTATE of five capital letters and digits such as \"53300\", or a class of two such as \"53\""
                )
            }));
            good.into_iter().flatten().collect()
        };
        let (count, ignore) = (read("count", count), read("ignore", ignore));
        for both in count.iter().filter(|pattern| ignore.contains(pattern)) {
            problems
                .push(format!("breaker.count and breaker.ignore both contain {:?}: remove it from one", both.text()));
        }
        if problems.is_empty() { Ok(Rules { count, ignore }) } else { Err(problems) }
    }

    /// Whether a fault that a call met counts, and as what.
    pub fn fault(&self, fault: &Fault) -> Option<Failure> {
        let natural = match fault.kind {
            FaultKind::ConnectionLost | FaultKind::ServerStopping => Some(Failure::Loss),
            FaultKind::Resources => Some(Failure::Fault),
            _ => None,
        };
        match fault.sqlstate {
            None => natural,
            Some(code) => match self.own(code) {
                Some(true) => Some(natural.unwrap_or(Failure::Fault)),
                Some(false) => None,
                None if OF_THE_SESSION.contains(&&code.0) => None,
                None => natural,
            },
        }
    }

    /// Whether a failed attempt to connect counts: all do, but for a lack of room in the budget of this instance, and what the user ignores.
    pub fn connect(&self, error: &ConnectError) -> bool {
        error.reason != Reason::Busy && error.sqlstate.and_then(|code| self.own(code)) != Some(false)
    }

    /// What the user says: a full code before a class.
    fn own(&self, code: SqlState) -> Option<bool> {
        [Pattern::Code(code.0), Pattern::Class(code.class())].into_iter().find_map(|pattern| {
            let named = |patterns: &[Pattern]| patterns.contains(&pattern);
            if named(&self.count) { Some(true) } else { named(&self.ignore).then_some(false) }
        })
    }
}

impl Pattern {
    fn read(text: &str) -> Option<Pattern> {
        let bytes = text.as_bytes();
        if !bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
            return None;
        }
        bytes.try_into().map(Pattern::Code).or_else(|_| bytes.try_into().map(Pattern::Class)).ok()
    }

    fn text(&self) -> String {
        let bytes: &[u8] = match self {
            Pattern::Code(code) => code,
            Pattern::Class(class) => class,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(count: &[&str], ignore: &[&str]) -> Rules {
        let owned = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        Rules::new(&owned(count), &owned(ignore)).unwrap()
    }

    fn fault(code: &[u8; 5]) -> Fault {
        let sqlstate = SqlState(*code);
        Fault { kind: FaultKind::of(sqlstate, true), sqlstate: Some(sqlstate), message: String::new() }
    }

    #[test]
    fn what_the_application_does_never_counts() {
        for code in [
            b"23505", b"42601", b"22012", b"P0001", b"40001", b"40P01", b"57014", b"25006", b"25P02", b"55P03",
            b"0A000",
        ] {
            assert_eq!(rules(&[], &[]).fault(&fault(code)), None, "{}", String::from_utf8_lossy(code));
        }
    }

    #[test]
    fn losses_and_lack_of_resources_count() {
        let rules = rules(&[], &[]);
        for code in [b"57P01", b"57P02", b"57P03", b"08006"] {
            assert_eq!(rules.fault(&fault(code)), Some(Failure::Loss));
        }
        for code in [b"53100", b"53200", b"53300", b"58030"] {
            assert_eq!(rules.fault(&fault(code)), Some(Failure::Fault));
        }
        assert_eq!(rules.fault(&Fault::lost("the socket closed")), Some(Failure::Loss));
    }

    /// The server ends the connection, but because of what the session did.
    #[test]
    fn a_session_that_is_ended_for_its_own_sake_does_not_count() {
        for code in OF_THE_SESSION {
            let ended = Fault { kind: FaultKind::ConnectionLost, ..fault(code) };
            assert_eq!(rules(&[], &[]).fault(&ended), None);
        }
    }

    #[test]
    fn the_users_own_rules_win_and_a_code_wins_over_its_class() {
        let own = rules(&["XX", "53300"], &["53", "57P01"]);
        assert_eq!(own.fault(&fault(b"XX000")), Some(Failure::Fault));
        assert_eq!(own.fault(&fault(b"53300")), Some(Failure::Fault));
        assert_eq!(own.fault(&fault(b"53100")), None);
        assert_eq!(own.fault(&fault(b"57P01")), None);
    }

    #[test]
    fn every_failed_attempt_to_connect_counts_unless_it_is_ours_or_ignored() {
        let full =
            ConnectError { sqlstate: Some(SqlState(*b"53300")), ..ConnectError::new(Reason::ServerFull, "full") };
        assert!(rules(&[], &[]).connect(&full) && !rules(&[], &["53300"]).connect(&full));
        assert!(rules(&[], &[]).connect(&ConnectError::new(Reason::Authentication, "wrong password")));
        assert!(!rules(&[], &[]).connect(&ConnectError::new(Reason::Busy, "no room")));
    }

    #[test]
    fn mistakes_are_named_with_what_to_write_instead() {
        let owned = |text: &str| vec![text.to_owned()];
        for wrong in ["533", "5330a", "", "lost"] {
            let problems = Rules::new(&owned(wrong), &[]).unwrap_err();
            assert!(problems[0].contains("breaker.count") && problems[0].contains("\"53300\""), "{problems:?}");
        }
        assert!(Rules::new(&owned("53"), &owned("53")).unwrap_err()[0].contains("remove it from one"));
    }
}
