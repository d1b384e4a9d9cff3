//! Which crates the packages may depend on. What only their tests need is free.

use super::Violation;

/// Packages of ours that each may depend on, and crates it may not.
const RULES: &[(&str, &[&str], &[&str])] = &[
    ("dbopt-macros", &[], &[]),
    ("dbopt-core", &["dbopt-macros"], &["diesel", "diesel-async", "diesel_migrations", "tokio-postgres"]),
    ("dbopt-diesel", &["dbopt-core", "dbopt-macros"], &[]),
];

pub(super) fn check(package: &str, file: &str, text: &str) -> Vec<Violation> {
    let Some((_, ours, banned)) = RULES.iter().find(|(name, ..)| *name == package) else { return Vec::new() };
    let wrong = |(line, name): (usize, String)| {
        let is_ours = name.starts_with("dbopt") && name != package;
        let (rule, instead) = if is_ours && !ours.contains(&name.as_str()) {
            let allowed = if ours.is_empty() { "no crate of ours".to_owned() } else { ours.join(" and ") + " only" };
            let rule = format!("of our crates, {package} depends on {allowed}");
            (rule, "move the code to the crate that may see both, or take the dependency out")
        } else if banned.contains(&name.as_str()) {
            (
                format!("{package} knows no database driver"),
                "use it in dbopt-diesel, behind a trait of dbopt-core's backend/",
            )
        } else {
            return None;
        };
        let what = format!("{package} depends on {name}");
        Some(Violation { file: file.to_owned(), line, what, rule, instead: instead.to_owned() })
    };
    dependencies(text).into_iter().filter_map(wrong).collect()
}

/// Line and crate of each dependency, tests' own left out.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut section = Section::Other;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            section = Section::of(header.trim_end_matches(']'));
            if let Section::One(name) = &section {
                found.push((number, name.clone()));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let renamed = |text: &str| {
            let (_, rest) = text.split_once("package")?;
            Some(rest.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?.split('"').next()?.to_owned())
        };
        match section {
            Section::All => {
                let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
                found.push((number, renamed(value).unwrap_or_else(|| name.to_owned())));
            }
            Section::One(_) => found.extend(renamed(line).map(|name| (number, name))),
            Section::Other => {}
        }
    }
    found
}

enum Section {
    /// `[dependencies]`: a crate on each line.
    All,
    /// `[dependencies.name]`.
    One(String),
    Other,
}

impl Section {
    fn of(header: &str) -> Section {
        let start = match header.starts_with("target.") {
            true => [".dependencies", ".build-dependencies"]
                .iter()
                .find_map(|kind| header.find(kind))
                .map_or(0, |at| at + 1),
            false => 0,
        };
        for kind in ["dependencies", "build-dependencies"] {
            match header[start..].strip_prefix(kind) {
                Some("") => return Section::All,
                Some(rest) => {
                    if let Some(name) = rest.strip_prefix('.') {
                        return Section::One(name.trim_matches('"').to_owned());
                    }
                }
                None => {}
            }
        }
        Section::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(package: &str, text: &str) -> Vec<usize> {
        check(package, "Cargo.toml", text).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn macros_depend_on_no_crate_of_ours() {
        let text = "[package]\nname = \"dbopt-macros\"\n[dependencies]\nsyn = \"3\"\ndbopt-core.workspace = true\n";
        assert_eq!(lines("dbopt-macros", text), [5]);
    }

    #[test]
    fn core_names_no_driver() {
        let text = "\
[dependencies]
dbopt-macros = { workspace = true }
diesel = \"2\"
driver = { package = \"diesel-async\", version = \"0.9\" }
# tokio-postgres = \"0.7\"
[target.'cfg(unix)'.dependencies]
tokio-postgres = \"0.7\"
[build-dependencies.store]
package = \"diesel\"
";
        assert_eq!(lines("dbopt-core", text), [3, 4, 7, 9]);
    }

    #[test]
    fn diesel_depends_on_core_and_macros_only() {
        let text = "[dependencies]\ndbopt-core = \"0.1\"\ndbopt-macros = \"0.1\"\ndiesel = \"2\"\n[dependencies.dbopt-tests]\npath = \"..\"\n";
        assert_eq!(lines("dbopt-diesel", text), [5]);
    }

    #[test]
    fn tests_may_depend_on_anything() {
        assert!(
            lines("dbopt-macros", "[dev-dependencies]\ndbopt-diesel = \"0.1\"\n[features]\ndiesel = []\n").is_empty()
        );
    }
}
