//! `cargo xtask criteria`: which test shows which criterion of the requirements.

mod find;
mod list;

use crate::{shell, source, term};
use anyhow::{Result, bail};
use find::Test;
use list::{PER_REQUIREMENT, REQUIREMENTS};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let only_missing = match arguments {
        [] => false,
        [option] if option == "--missing" => true,
        _ => bail!("`cargo xtask criteria` takes no other option than --missing"),
    };
    let mut tests = Vec::new();
    let mut mistakes = Vec::new();
    for path in source::files(&shell::root(), "rs")? {
        // A file that cannot be read as Rust has no tests: such files are the input of tests that expect errors.
        let Ok(tokens) = source::tokens(&source::text(&path)?) else { continue };
        let (found, wrong) = find::tests(&shell::relative(&path), tokens);
        tests.extend(found);
        mistakes.extend(wrong);
    }
    mistakes.extend(find::duplicates(&tests));
    print!("{}", report(&tests, only_missing, term::stdout()));
    if !mistakes.is_empty() {
        bail!("test names that cannot be right:\n  {}", mistakes.join("\n  "));
    }
    Ok(())
}

fn report(tests: &[Test], only_missing: bool, style: term::Style) -> String {
    let mut text = String::new();
    let mut shown = 0;
    for (requirement, (area, criteria)) in (1..).zip(REQUIREMENTS) {
        let mut block = String::new();
        let mut shown_here = 0;
        for (criterion, sentence) in (1..).zip(criteria) {
            let own: Vec<&Test> = tests.iter().filter(|test| test.shows(requirement, criterion)).collect();
            let is_shown = own.iter().any(|test| !test.ignored);
            shown_here += usize::from(is_shown);
            if only_missing && is_shown {
                continue;
            }
            let mark = if is_shown { style.green("ok") } else { style.yellow("--") };
            block += &format!("  {mark} {:<5} {sentence}\n", format!("{requirement}.{criterion}"));
            for test in own {
                let ignored = if test.ignored { style.yellow(" (ignored)") } else { String::new() };
                let place = style.dim(&format!("{}:{}", test.file, test.line));
                block += &format!("           {}{ignored}  {place}\n", test.name);
            }
        }
        if !block.is_empty() {
            let title = style.bold(&format!("R{requirement:<3} {area}"));
            text += &format!("{title}  ({shown_here} of {PER_REQUIREMENT})\n{block}");
        }
        shown += shown_here;
    }
    let all = REQUIREMENTS.len() * PER_REQUIREMENT;
    let running = tests.iter().filter(|test| !test.ignored).count();
    text += &format!("\n{shown} of {all} criteria are shown, by {running} tests; {} have none yet.\n", all - shown);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, requirement: u32, criterion: u32, ignored: bool) -> Test {
        Test { name: name.to_owned(), requirement, criterion, file: "a.rs".to_owned(), line: 7, ignored }
    }

    #[test]
    fn an_ignored_test_shows_nothing() {
        let tests = [test("r07_3_a", 7, 3, false), test("r07_4_b", 7, 4, true)];
        let text = report(&tests, false, term::Style::plain());
        assert!(text.contains("  ok 7.3 "), "{text}");
        assert!(text.contains("  -- 7.4 "), "{text}");
        assert!(text.contains("r07_4_b (ignored)  a.rs:7"), "{text}");
        assert!(text.ends_with("1 of 60 criteria are shown, by 1 tests; 59 have none yet.\n"), "{text}");
    }

    #[test]
    fn missing_leaves_out_what_is_shown() {
        let text = report(&[test("r07_3_a", 7, 3, false)], true, term::Style::plain());
        assert!(!text.contains(" 7.3 ") && text.contains(" 7.4 "), "{text}");
    }
}
