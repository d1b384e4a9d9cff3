//! `{{#include file:anchor}}`: the file and the anchor have to exist.

use super::{Files, normal};
use crate::shell;
use std::path::Path;

pub(super) fn check(page: &Path, text: &str, files: &dyn Files) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (start, _) in line.match_indices("{{#") {
            if line[..start].ends_with('\\') {
                continue;
            }
            let inside = line[start + 3..].split("}}").next().unwrap_or_default();
            if let Err(what) = directive(page, inside.trim(), files) {
                mistakes.push(format!("{}:{number}: {{{{#{inside}}}}}: {what}", shell::relative(page)));
            }
        }
    }
    mistakes
}

fn directive(page: &Path, inside: &str, files: &dyn Files) -> Result<(), String> {
    let (name, rest) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
    match name {
        "include" | "rustdoc_include" | "playground" | "playpen" => {}
        "title" => return Ok(()),
        _ => return Err("mdBook has no such directive".to_owned()),
    }
    let target = rest.split_whitespace().next().unwrap_or_default();
    let (file, part) = target.split_once(':').unwrap_or((target, ""));
    let path = normal(&page.parent().unwrap_or(page).join(file));
    let text = files.text(&path).ok_or_else(|| format!("there is no {}", shell::relative(&path)))?;
    let is_range = part.split(':').all(|bound| bound.chars().all(|letter| letter.is_ascii_digit()));
    if is_range { range(&text, part) } else { anchor(&text, part) }
}

/// `2`, `2:3`, `2:` or `:3`.
fn range(text: &str, part: &str) -> Result<(), String> {
    let last = part.split(':').filter_map(|bound| bound.parse::<usize>().ok()).max().unwrap_or(0);
    let lines = text.lines().count();
    if last > lines { Err(format!("the file has only {lines} lines")) } else { Ok(()) }
}

fn anchor(text: &str, name: &str) -> Result<(), String> {
    let has = |mark: &str| {
        text.lines()
            .any(|line| line.split_once(mark).is_some_and(|(_, rest)| rest.split_whitespace().next() == Some(name)))
    };
    match (has("ANCHOR:"), has("ANCHOR_END:")) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("the file has no `ANCHOR: {name}`")),
        (true, false) => Err(format!("the file has no `ANCHOR_END: {name}`")),
    }
}
