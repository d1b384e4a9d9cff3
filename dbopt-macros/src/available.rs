//! What parses and is checked already, but has no runtime behind it in this version.
//!
//! This is the one place to change when a runtime arrives: delete its line here, then expand it in `expand.rs`. The test
//! `no_option_is_silently_ignored` fails when the first is done without the second.

use crate::vocabulary::Helper;

struct NotYet {
    helper: &'static str,
    /// `None`: the helper as a whole.
    option: Option<&'static str>,
    meanwhile: &'static str,
}

const NOT_YET: &[NotYet] = &[NotYet {
    helper: "batched",
    option: None,
    meanwhile: "write `#[read]`, and call the plural method where you have several keys",
}];

/// The message for a helper (`option` is `None`) or one of its options that this version cannot run.
pub(crate) fn missing(helper: &Helper, option: Option<&str>) -> Option<String> {
    let found = NOT_YET.iter().find(|entry| entry.helper == helper.name && entry.option == option)?;
    let written = match option {
        None => format!("`#[{}]`", helper.name),
        Some(option) => format!("`{option}` of `#[{}]`", helper.name),
    };
    Some(format!("{written} is not available yet in this version of dbopt; until then {}", found.meanwhile))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::HELPERS;

    #[test]
    fn every_line_names_something_of_the_table() {
        for entry in NOT_YET {
            let helper = HELPERS.iter().find(|helper| helper.name == entry.helper).expect(entry.helper);
            assert!(entry.option.is_none_or(|option| helper.option(option).is_some()), "{}", entry.helper);
        }
    }
}
