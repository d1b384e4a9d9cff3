//! Relative links: the file has to exist, and a `#fragment` has to be one of its headings.

use super::{Files, normal};
use crate::shell;
use std::path::{Path, PathBuf};

/// Checks the links of a page. Those of the guide must stay inside it: there is nothing else beside the built book.
pub(super) fn check(page: &Path, text: &str, guide: Option<&Path>, files: &dyn Files) -> Vec<String> {
    let wrong = |(line, target): (usize, String)| {
        let what = judge(page, text, &target, guide, files).err()?;
        Some(format!("{}:{line}: ({target}): {what}", shell::relative(page)))
    };
    links(text).into_iter().filter_map(wrong).collect()
}

/// The files that a page links to.
pub(super) fn targets(page: &Path, text: &str) -> Vec<PathBuf> {
    let files = links(text).into_iter().filter(|(_, target)| is_relative(target));
    files.map(|(_, target)| resolve(page, target.split('#').next().unwrap_or_default())).collect()
}

fn judge(page: &Path, text: &str, target: &str, guide: Option<&Path>, files: &dyn Files) -> Result<(), String> {
    if !is_relative(target) {
        return Ok(());
    }
    let (file, fragment) = target.split_once('#').map_or((target, None), |(file, fragment)| (file, Some(fragment)));
    let path = if file.is_empty() { page.to_path_buf() } else { resolve(page, file) };
    if guide.is_some_and(|guide| !path.starts_with(guide)) {
        return Err("leads out of the book; link to the file in the repository by its URL".to_owned());
    }
    if !files.exists(&path) {
        return Err(format!("there is no {}", shell::relative(&path)));
    }
    let is_page = path.extension().is_some_and(|extension| extension == "md");
    if let (Some(fragment), true) = (fragment, is_page) {
        let text = if file.is_empty() { text.to_owned() } else { files.text(&path).unwrap_or_default() };
        if !headings(&text).iter().any(|heading| heading == fragment) {
            return Err(format!("{} has no heading #{fragment}", shell::relative(&path)));
        }
    }
    Ok(())
}

fn is_relative(target: &str) -> bool {
    !target.is_empty() && !target.starts_with('/') && !target.contains("://") && !target.starts_with("mailto:")
}

fn resolve(page: &Path, file: &str) -> PathBuf {
    normal(&page.parent().unwrap_or(page).join(file.replace("%20", " ")))
}

/// Line and target of every link that is not in code: `[text](target)`, `![text](target)` and `[name]: target`.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.trim_matches(['<', '>']).to_owned()));
        }
        if let Some((name, target)) = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !name.starts_with('^')
        {
            found.push((number, target.split_whitespace().next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// The numbered lines outside of fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let start = line.trim_start();
        match fence {
            Some(mark) => {
                if start.starts_with(mark) {
                    fence = None;
                }
                false
            }
            None => {
                fence = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
                fence.is_none()
            }
        }
    })
}

fn without_code(line: &str) -> String {
    if line.matches('`').count() < 2 {
        return line.to_owned();
    }
    line.split('`').enumerate().map(|(number, part)| if number % 2 == 0 { part } else { "" }).collect()
}

/// The names that mdBook gives a page's headings.
fn headings(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let plain = title.trim().to_lowercase();
        let kept = plain.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' '));
        let name: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let before = names.iter().filter(|known| **known == name || known.starts_with(&format!("{name}-"))).count();
        names.push(if before == 0 { name } else { format!("{name}-{before}") });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;

    fn check_page(text: &str) -> Vec<String> {
        let files = Fixture::new(&[
            ("/book/src/a/page.md", text),
            ("/book/src/other.md", "# The Path of a `call`\n## Twice\n## Twice\n"),
            ("/README.md", ""),
        ]);
        check(Path::new("/book/src/a/page.md"), text, Some(Path::new("/book/src")), &files)
    }

    #[test]
    fn links_that_lead_somewhere_are_right() {
        for right in [
            "[a](../other.md) and [b](../other.md#the-path-of-a-call), [c](../other.md#twice-1)",
            "# Here\n[a](#here)",
            "[a](https://example.org/x) [b](mailto:a@example.org)",
            "[a][b]\n\n[b]: ../other.md",
            "`[a](nowhere.md)`\n```\n[a](nowhere.md)\n```",
        ] {
            assert!(check_page(right).is_empty(), "{right}: {:?}", check_page(right));
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_mistakes() {
        for wrong in [
            "\n[a](other.md)",
            "[a](../other.md#path)",
            "[a](#there)",
            "[a][b]\n\n[b]: nowhere.md",
            "![a](picture.png)",
            "[a](../../../README.md)",
        ] {
            assert_eq!(check_page(wrong).len(), 1, "{wrong}");
        }
        assert!(check_page("\n[a](other.md)")[0].contains("page.md:2: (other.md): there is no "));
    }
}
