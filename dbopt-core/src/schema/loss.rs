//! What a script loses: data that no later script brings back. Pure.

use super::script::{Script, Words};

/// Data that is gone once a statement has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The line of the statement.
    pub line: usize,
    /// What is lost, in words.
    pub what: String,
    /// The table whose rows or columns are lost, as it is written, where one can be named.
    pub table: Option<String>,
}

/// Everything that a script loses.
pub fn losses(script: &Script) -> Vec<Loss> {
    let of = |statement: super::script::Statement<'_>| {
        let found = of_statement(&Words::of(statement.sql));
        found.into_iter().map(move |(what, table)| Loss { line: statement.line, what, table })
    };
    script.statements().flat_map(of).collect()
}

fn of_statement(words: &Words) -> Vec<(String, Option<String>)> {
    let first: Vec<&str> = words.upper.iter().map(String::as_str).take(2).collect();
    let named = |at: usize, what: &str| {
        let names = words.names_at(words.skip(at, &["IF", "EXISTS"]));
        names.into_iter().map(|name| (format!("{what} {name}"), Some(name))).collect::<Vec<_>>()
    };
    match first.as_slice() {
        ["DROP", "TABLE"] => named(2, "all rows of"),
        ["TRUNCATE", _] => {
            let at = words.skip(words.skip(1, &["TABLE"]), &["ONLY"]);
            named(at, "all rows of")
        }
        ["DELETE", "FROM"] => named(words.skip(2, &["ONLY"]), "rows of").into_iter().take(1).collect(),
        ["DROP", "SEQUENCE"] => {
            named(2, "the state of the sequence").into_iter().map(|(what, _)| (what, None)).collect()
        }
        ["DROP", "SCHEMA" | "TYPE" | "DOMAIN" | "EXTENSION" | "OWNED"] if words.has("CASCADE") => {
            vec![(format!("whatever depends on {}", words.written[2..].join(" ")), None)]
        }
        ["ALTER", "TABLE"] => of_table(words),
        _ => Vec::new(),
    }
}

fn of_table(words: &Words) -> Vec<(String, Option<String>)> {
    let at = words.skip(words.skip(2, &["IF", "EXISTS"]), &["ONLY"]);
    let Some((table, mut at)) = words.name_at(at) else { return Vec::new() };
    let mut found = Vec::new();
    while at < words.upper.len() {
        let next = words.upper.get(at + 1).map(String::as_str);
        match words.upper[at].as_str() {
            "DROP" if !matches!(next, Some("CONSTRAINT" | "DEFAULT" | "NOT" | "EXPRESSION" | "IDENTITY")) => {
                let column = words.skip(words.skip(at + 1, &["COLUMN"]), &["IF", "EXISTS"]);
                if let Some(column) = words.written.get(column) {
                    found.push((format!("the column {column} of {table}"), Some(table.clone())));
                }
            }
            "ALTER" => {
                let column = words.skip(at + 1, &["COLUMN"]);
                let kind = words.skip(column + 1, &["SET", "DATA"]);
                if words.are(kind, &["TYPE"]) {
                    let column = words.written.get(column).map_or("", String::as_str);
                    let what = format!("what values of {column} of {table} do not fit into the type");
                    found.push((what, Some(table.clone())));
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(sql: &str) -> Vec<String> {
        losses(&Script::parse(sql).unwrap()).into_iter().map(|loss| format!("{} {}", loss.line, loss.what)).collect()
    }

    #[test]
    fn what_drops_data_is_found_and_what_does_not_is_not() {
        assert_eq!(
            lost("select 1;\ndrop table if exists a, s.\"B\" cascade"),
            ["2 all rows of a", "2 all rows of s.\"B\""]
        );
        assert_eq!(
            lost("alter table only a drop constraint c, drop column if exists x, drop y"),
            ["1 the column x of a", "1 the column y of a"]
        );
        assert_eq!(lost("alter table a alter x set data type int using x::int").len(), 1);
        assert_eq!(lost("truncate table a, b").len(), 2);
        assert_eq!(lost("drop schema s cascade").len(), 1);
        let nothing = "drop index i; drop view v cascade; alter table a alter column x drop default; alter table a alter x drop not null; \
                       drop function f(); alter table a rename x to y; -- drop table a";
        assert_eq!(lost(nothing), [""; 0]);
    }
}
