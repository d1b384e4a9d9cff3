//! `cargo xtask book`: the guide's links and included code, checked without mdBook; built when mdBook is there.

mod includes;
mod links;

use crate::{no_arguments, shell, source};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Markdown pages of the workspace, and any other file on demand; a map in tests.
trait Files {
    fn text(&self, path: &Path) -> Option<String>;
    fn exists(&self, path: &Path) -> bool;
}

struct Disk;

impl Files for Disk {
    fn text(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    no_arguments("book", arguments)?;
    let root = shell::root();
    let guide = root.join("book/src");
    if !guide.join("SUMMARY.md").is_file() {
        bail!("there is no book/src/SUMMARY.md");
    }
    let mut pages = BTreeMap::new();
    for path in source::files(&guide, "md")? {
        let text = source::text(&path)?;
        pages.insert(path, text);
    }
    let mut mistakes = check_guide(&guide, &pages, &Disk);
    let mut others = 0;
    for entry in std::fs::read_dir(&root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            mistakes.extend(links::check(&path, &source::text(&path)?, None, &Disk));
            others += 1;
        }
    }
    for mistake in &mistakes {
        println!("{mistake}");
    }
    if !mistakes.is_empty() {
        bail!("{} mistakes in the book and the top-level pages", mistakes.len());
    }
    println!("{} pages of the guide and {others} top-level pages: links and included code are there", pages.len());
    if shell::on_path("mdbook").is_some() {
        let output = shell::target().join("book");
        shell::run(Command::new("mdbook").arg("build").arg(root.join("book")).arg("--dest-dir").arg(output))?;
    }
    Ok(())
}

fn check_guide(guide: &Path, pages: &BTreeMap<PathBuf, String>, files: &dyn Files) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (page, text) in pages {
        mistakes.extend(links::check(page, text, Some(guide), files));
        mistakes.extend(includes::check(page, text, files));
    }
    let summary = guide.join("SUMMARY.md");
    let listed = pages.get(&summary).map(|text| links::targets(&summary, text)).unwrap_or_default();
    for page in pages.keys().filter(|page| **page != summary && !listed.contains(page)) {
        mistakes.push(format!("{}: is not in SUMMARY.md, so no reader finds it", shell::relative(page)));
    }
    mistakes
}

/// `a/./b/../c` is `a/c`, without asking the disk.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) struct Fixture(pub(super) BTreeMap<PathBuf, String>);

    impl Fixture {
        pub(super) fn new(files: &[(&str, &str)]) -> Fixture {
            Fixture(files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect())
        }
    }

    impl Files for Fixture {
        fn text(&self, path: &Path) -> Option<String> {
            self.0.get(path).cloned()
        }

        fn exists(&self, path: &Path) -> bool {
            self.0.keys().any(|known| known.starts_with(path))
        }
    }

    fn guide(files: &[(&str, &str)]) -> Vec<String> {
        let fixture = Fixture::new(files);
        let is_page = |path: &Path| path.starts_with("/book/src") && path.extension().is_some_and(|end| end == "md");
        let pages = fixture.0.iter().filter(|(path, _)| is_page(path));
        let pages = pages.map(|(path, text)| (path.clone(), text.clone())).collect();
        check_guide(Path::new("/book/src"), &pages, &fixture)
    }

    #[test]
    fn a_page_outside_the_summary_is_a_mistake() {
        let summary = ("/book/src/SUMMARY.md", "- [Start](start.md)\n");
        assert!(guide(&[summary, ("/book/src/start.md", "# Start")]).is_empty());
        let mistakes = guide(&[summary, ("/book/src/start.md", ""), ("/book/src/lost.md", "")]);
        assert!(mistakes.len() == 1 && mistakes[0].contains("lost.md: is not in SUMMARY.md"), "{mistakes:?}");
        let mistakes = guide(&[summary]);
        assert!(mistakes.len() == 1 && mistakes[0].contains("SUMMARY.md:1"), "{mistakes:?}");
    }

    #[test]
    fn included_code_has_to_be_there() {
        let check = |include: &str| {
            guide(&[
                ("/book/src/SUMMARY.md", "- [Start](a/start.md)"),
                ("/book/src/a/start.md", include),
                ("/examples/one.rs", "// ANCHOR: find\nfn find() {}\n// ANCHOR_END: find\n// ANCHOR: open\n"),
            ])
        };
        for right in [
            "```rust\n{{#include ../../../examples/one.rs:find}}\n```",
            "{{#rustdoc_include ../../../examples/one.rs}}",
            "{{#include ../../../examples/one.rs:2:3}} {{#include ../../../examples/one.rs::2}}",
            "\\{{#include nowhere.rs}}",
        ] {
            assert!(check(right).is_empty(), "{right}");
        }
        for wrong in [
            "{{#include ../../../examples/two.rs}}",
            "\n{{#include ../../../examples/one.rs:fin}}",
            "{{#include ../../../examples/one.rs:open}}",
            "{{#include ../../../examples/one.rs:2:9}}",
            "{{#inclde ../../../examples/one.rs}}",
        ] {
            assert_eq!(check(wrong).len(), 1, "{wrong}");
        }
    }
}
