//! The rules inside dbopt-core.

use super::Violation;
use super::paths::{self, Path, Paths};
use super::rooms::{self, CONFINED, Confined, Room, VOCABULARY};
use crate::source;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// A file of the crate, read.
pub(super) struct Module {
    file: String,
    /// Its place among the modules: `["pool", "lane"]`; empty for lib.rs.
    path: Vec<String>,
    in_folder: bool,
    found: Paths,
}

impl Module {
    /// `inside` is the file's path inside `src/`.
    pub(super) fn new(file: String, inside: &std::path::Path, text: &str) -> Result<Module> {
        let mut path: Vec<String> =
            inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
            path.pop();
        }
        let tokens = source::tokens(text).with_context(|| format!("cannot read {file} as Rust"))?;
        let in_folder = inside.components().count() > 1;
        Ok(Module { file, path, in_folder, found: paths::paths(tokens) })
    }

    fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    fn violation(&self, line: usize, what: String, rule: &str, instead: String) -> Violation {
        Violation { file: self.file.clone(), line, what, rule: rule.to_owned(), instead }
    }
}

pub(super) fn check(modules: &[Module]) -> Vec<Violation> {
    let layout = Layout::of(modules);
    let mut violations = Vec::new();
    for module in modules {
        if !module.is_root() {
            violations.extend(layout.wrong_directions(module));
        }
        violations.extend(module.found.paths.iter().filter_map(|path| out_of_place(module, path)));
    }
    violations.extend(layout.unknown_rooms(modules));
    violations
}

/// What the crate's root offers under which name.
struct Layout {
    /// Top-level modules, and whether they are folders.
    top: BTreeMap<String, bool>,
    /// What lib.rs re-exports: the name, and the top-level module it comes from.
    exports: BTreeMap<String, String>,
}

impl Layout {
    fn of(modules: &[Module]) -> Layout {
        let mut top = BTreeMap::new();
        for module in modules {
            if let Some(name) = module.path.first() {
                *top.entry(name.clone()).or_insert(false) |= module.in_folder;
            }
        }
        let mut exports = BTreeMap::new();
        for path in modules.iter().filter(|module| module.is_root()).flat_map(|module| &module.found.paths) {
            let from: Vec<&String> =
                path.segments.iter().skip_while(|part| *part == "crate" || *part == "self").collect();
            if let [from, .., last] = from.as_slice()
                && top.contains_key(*from)
            {
                exports.insert(path.alias.clone().unwrap_or_else(|| (*last).clone()), (*from).clone());
            }
        }
        Layout { top, exports }
    }

    /// The room of what `crate::<name>` means; none for what lib.rs itself defines.
    fn room<'a>(&'a self, name: &'a str) -> Option<Room<'a>> {
        let module = match self.exports.get(name) {
            Some(from) if !self.top.contains_key(name) => from,
            _ => name,
        };
        self.top.contains_key(module).then(|| rooms::in_table(module).unwrap_or(VOCABULARY))
    }

    fn wrong_directions(&self, module: &Module) -> Vec<Violation> {
        let Some(own) = module.path.first().and_then(|name| self.room(name)) else { return Vec::new() };
        let judge = |path: &Path| match at_root(module, path)? {
            Root::Everything => Some(module.violation(
                path.line,
                format!("`{}` takes in the whole crate", path.segments.join("::")),
                "an import names the room it comes from, so that its direction can be seen",
                "name what is needed: `use crate::error::Error`".to_owned(),
            )),
            Root::Item(name) => {
                let other = self.room(name).filter(|other| !own.may_import(*other))?;
                Some(module.violation(
                    path.line,
                    format!("`{}` (row {}) imports from `{}` (row {})", own.name, own.row, other.name, other.row),
                    "a room imports only from rows below it, and rooms on one row do not see each other",
                    format!(
                        "move what both need to a row below {}, or let `runtime` join the two; tests that need both go to tests/",
                        own.row
                    ),
                ))
            }
        };
        module.found.paths.iter().filter_map(judge).collect()
    }

    fn unknown_rooms(&self, modules: &[Module]) -> Vec<Violation> {
        // A folder beside a file of its name is that file's.
        let has_file = |name: &String| modules.iter().any(|m| !m.in_folder && m.path == std::slice::from_ref(name));
        let unknown = self
            .top
            .iter()
            .filter(|(name, is_folder)| **is_folder && rooms::in_table(name).is_none() && !has_file(name));
        unknown
            .filter_map(|(name, _)| {
                let first = modules.iter().find(|module| module.path.first() == Some(name))?;
                Some(first.violation(
                    1,
                    format!("the folder `{name}` is on no row"),
                    "each folder of dbopt-core/src is a room with a place in the order",
                    "give it a row in xtask/src/imports/rooms.rs and in ARCHITECTURE.md".to_owned(),
                ))
            })
            .collect()
    }
}

/// What a path means at the root of the crate.
#[derive(Debug, PartialEq)]
enum Root<'a> {
    Item(&'a str),
    Everything,
}

/// Follows `crate`, `self` and `super`; none for a path that does not get to the root.
fn at_root<'a>(module: &Module, path: &'a Path) -> Option<Root<'a>> {
    let mut depth = module.path.len() + path.inside.len();
    let mut segments = path.segments.iter().map(String::as_str).peekable();
    match segments.next()? {
        "crate" => depth = 0,
        "self" => {}
        "super" => depth = depth.saturating_sub(1),
        _ => return None,
    }
    while segments.next_if_eq(&"super").is_some() {
        depth = depth.saturating_sub(1);
    }
    if depth > 0 {
        return None;
    }
    Some(match segments.next() {
        Some("*" | "self") | None => Root::Everything,
        Some(name) => Root::Item(name),
    })
}

/// A crate that is named where it may not be.
fn out_of_place(module: &Module, path: &Path) -> Option<Violation> {
    let first = path.segments.first()?;
    let Confined { name, modules } = CONFINED.iter().find(|confined| confined.name == first)?;
    // The file's own module of that name; Rust asks for `self::` or `::` where that would be ambiguous.
    if !path.absolute && module.found.declared.contains(first) {
        return None;
    }
    let place: Vec<&str> = module.path.iter().chain(&path.inside).map(String::as_str).collect();
    if modules.iter().any(|allowed| place.starts_with(&allowed.split('/').collect::<Vec<_>>())) {
        return None;
    }
    let (rule, instead) = match modules {
        [] => (
            "dbopt-core knows no database driver".to_owned(),
            "say what is needed as a trait in backend/, and implement it in dbopt-diesel".to_owned(),
        ),
        modules => (
            format!("`{name}` is named in {} only", modules.join(", ")),
            format!("wrap it there in a type of ours, and use that; if this is not the crate, do not call it `{name}`"),
        ),
    };
    Some(module.violation(path.line, format!("`{name}` is named here"), &rule, instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The places that break a rule, as `file:line`.
    fn wrong(files: &[(&str, &str)]) -> Vec<String> {
        let read = |(file, text): &(&str, &str)| Module::new((*file).to_owned(), file.as_ref(), text).unwrap();
        let modules: Vec<Module> = files.iter().map(read).collect();
        check(&modules).iter().map(|violation| format!("{}:{}", violation.file, violation.line)).collect()
    }

    #[test]
    fn imports_from_rows_below_are_right() {
        let files = [
            ("lib.rs", "mod pool; mod breaker; mod error; pub use pool::Pool; pub use error::Error;"),
            ("error.rs", "use super::op::Op; pub struct Error;"),
            ("op.rs", "pub struct Op;"),
            ("breaker/mod.rs", "use crate::error::Error;"),
            ("pool/mod.rs", "mod lane; use crate::{Error, breaker::Breaker, pool::lane::Lane}; use self::lane::*;"),
            ("pool/lane.rs", "use super::Pool; mod tests { use super::*; use super::super::lane; }"),
            ("runtime/mod.rs", "use crate::{pool::Pool, Pool as P};"),
        ];
        assert_eq!(wrong(&files), [""; 0]);
    }

    #[test]
    fn an_upward_import_is_wrong_however_it_is_written() {
        let upward = [
            "use crate::cluster::Topology;",
            "use crate::{error::Error, cluster::{self, Topology}};",
            "fn f() { crate::cluster::go() }",
            "fn f() -> Option<crate::cluster::Topology> { None }",
            "use super::cluster::Topology;",
            "use crate::Topology;",
            "use crate::T;",
            "mod inner { use super::super::cluster::Topology; }",
            "#[cfg(test)] mod tests { use crate::cluster::Topology; }",
            "macro_rules! m { () => { $crate::cluster::go() } }",
            "use crate::*;",
            "use super::*;",
            "use crate::{self as root};",
            "use crate as root;",
        ];
        for text in upward {
            let files = [
                (
                    "lib.rs",
                    "mod cluster; mod pool; mod error; pub use cluster::Topology; pub use self::cluster::Topology as T;",
                ),
                ("error.rs", ""),
                ("cluster/mod.rs", "mod a;"),
                ("cluster/a.rs", ""),
                ("pool/mod.rs", text),
                ("pool/lane.rs", ""),
            ];
            assert!(wrong(&files).iter().all(|place| place == "pool/mod.rs:1") && !wrong(&files).is_empty(), "{text}");
        }
    }

    #[test]
    fn rooms_on_one_row_do_not_see_each_other() {
        let files = [("limit/mod.rs", "\nuse crate::cache::Cache;"), ("cache/mod.rs", "")];
        assert_eq!(wrong(&files), ["limit/mod.rs:2"]);
    }

    #[test]
    fn vocabulary_sees_vocabulary_only() {
        let files =
            [("op.rs", "use crate::key::Key;"), ("key.rs", "use crate::observe::Metrics;"), ("observe/mod.rs", "")];
        assert_eq!(wrong(&files), ["key.rs:1"]);
    }

    #[test]
    fn the_top_rows_are_seen_by_nobody_below() {
        let files = [
            ("cache/mod.rs", "use crate::__private::X;"),
            ("runtime/mod.rs", "use crate::__private::X;"),
            ("__private.rs", "use crate::runtime::X;"),
        ];
        assert_eq!(wrong(&files), ["cache/mod.rs:1", "runtime/mod.rs:1"]);
    }

    #[test]
    fn a_new_folder_needs_a_row() {
        assert_eq!(wrong(&[("helpers/mod.rs", "")]), ["helpers/mod.rs:1"]);
        assert_eq!(wrong(&[("key.rs", "mod tests;"), ("key/tests.rs", "use crate::op::Op;"), ("op.rs", "")]), [""; 0]);
        let astray = [("key.rs", "mod tests;"), ("key/tests.rs", "use crate::observe::X;"), ("observe/mod.rs", "")];
        assert_eq!(wrong(&astray), ["key/tests.rs:1"]);
    }

    #[test]
    fn stores_are_named_at_home_only() {
        let home = [
            ("pool/manager.rs", "use bb8::Pool;"),
            ("cache/l1.rs", "use cached::X; mod inner { use cached::Y; }"),
            ("cache/l2/client.rs", "use redis::Client;"),
            ("cache/backplane.rs", "fn f(c: ::redis::Client) {}"),
            ("limit/remote/link.rs", "use redis::Script;"),
            ("limit/mod.rs", "mod redis; pub use self::redis::RedisStore; fn f() { redis::go() }"),
            ("cache/mod.rs", "fn f() { let cached = 1; cached.go(); entry.redis; }"),
        ];
        assert_eq!(wrong(&home), [""; 0]);
        let elsewhere = [
            ("route/mod.rs", "use bb8::Pool;"),
            ("cache/mod.rs", "fn f() -> cached::X {}"),
            ("cache/l1x.rs", "use ::cached;"),
            ("limit/mod.rs", "mod redis; use ::redis::Client;"),
            ("error.rs", "enum E { A(#[from] bb8::RunError<()>) }"),
            ("lib.rs", "pub use redis::Client;"),
        ];
        assert_eq!(wrong(&elsewhere), elsewhere.map(|(file, _)| format!("{file}:1")));
    }

    #[test]
    fn no_driver_is_named() {
        let files = [("backend/mod.rs", "use diesel::Connection;\nfn f(_: tokio_postgres::Client) {}")];
        assert_eq!(wrong(&files), ["backend/mod.rs:1", "backend/mod.rs:2"]);
    }

    #[test]
    fn a_violation_says_where_why_and_what_to_do() {
        let files = [("breaker/mod.rs", "use crate::pool::Pool;"), ("pool/mod.rs", "")];
        let read = |(file, text): &(&str, &str)| Module::new(format!("src/{file}"), file.as_ref(), text).unwrap();
        let text = check(&files.iter().map(read).collect::<Vec<_>>())[0].to_string();
        assert!(text.starts_with("src/breaker/mod.rs:1: `breaker` (row 2) imports from `pool` (row 3)\n"), "{text}");
        assert!(text.contains("rule: a room imports only") && text.contains("do:   move"), "{text}");
    }
}
