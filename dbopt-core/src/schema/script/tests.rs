use proptest::prelude::*;

use super::{Alone, Kind, Script, TokenKind, tokens};

fn cut(text: &str) -> Vec<String> {
    Script::parse(text).unwrap().statements().map(|s| format!("{}: {}", s.line, s.sql)).collect()
}

#[test]
fn semicolons_in_texts_names_and_comments_end_nothing() {
    let text = "select 'a;''b' as \"x;\"\"y\"; -- one; two\n/* a; /* b; */ c; */ select E'it\\'s;' , $$;$$, $t$ ;$$; $t$;\n\nselect $1";
    let found = cut(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[1].starts_with("2: select E'it") && found[2] == "4: select $1", "{found:?}");
}

#[test]
fn a_body_of_a_routine_is_part_of_it() {
    let text = "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC\n SELECT 1;\n SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END;\nEND;\nselect 2;";
    assert_eq!(cut(text).len(), 2);
    assert_eq!(cut("create function begin() returns int as 'select 1; select 2' language sql; select 3").len(), 2);
    assert_eq!(cut("create rule r as on insert to t do also (delete from a; delete from b); select 1").len(), 2);
    assert_eq!(cut("select a$b$c; select 2").len(), 2, "a dollar inside a name opens no text");
}

#[test]
fn what_is_never_closed_is_told_with_its_line() {
    for (text, what) in
        [("\nselect 'a", "a string"), ("\n/* /* */", "a comment"), ("\n$x$ $$", "dollar"), ("\n\"a", "name")]
    {
        let error = Script::parse(text).unwrap_err();
        assert!(error.starts_with("line 2") && error.contains(what), "{error}");
    }
}

#[test]
fn an_error_position_becomes_a_line() {
    let script = Script::parse("select 1;\n\nselect\n  ü,\n  nonsense").unwrap();
    let last = script.statements().last().unwrap();
    let position = last.sql.chars().collect::<String>().split("nonsense").next().unwrap().chars().count() as u32 + 1;
    assert_eq!(last.line_at(position), 5);
}

#[test]
fn statements_that_must_be_alone_are_recognised() {
    let alone = |sql: &str| match Kind::of(sql) {
        Kind::Alone(alone) => alone,
        other => panic!("{sql}: {other:?}"),
    };
    assert_eq!(
        alone("create unique index /* x */ concurrently if not exists \"I\" on only s.t (a)"),
        Alone::CreateIndex { name: Some("\"I\"".into()), table: Some("s.t".into()) }
    );
    assert_eq!(alone("CREATE INDEX CONCURRENTLY ON t (a)"), Alone::CreateIndex { name: None, table: Some("t".into()) });
    assert_eq!(alone("drop index concurrently if exists s.i"), Alone::DropIndex { name: Some("s.i".into()) });
    assert_eq!(alone("reindex (verbose) table concurrently t"), Alone::Reindex);
    assert_eq!(
        alone("alter table t detach partition t_1 concurrently"),
        Alone::Detach { table: "t".into(), partition: "t_1".into() }
    );
    for sql in ["vacuum analyze t", "alter system set x = 1", "create database d", "drop tablespace x"] {
        alone(sql);
    }
    for sql in
        ["create index i on concurrently (a)", "reindex table t", "alter table t detach partition p", "select 'vacuum'"]
    {
        assert_eq!(Kind::of(sql), Kind::Ordinary, "{sql}");
    }
}

#[test]
fn transaction_control_is_recognised_and_savepoints_are_not_it() {
    for sql in
        ["commit", "COMMIT WORK", "end", "rollback", "abort", "begin isolation level serializable", "start transaction"]
    {
        assert!(matches!(Kind::of(sql), Kind::Control(_)), "{sql}");
    }
    for sql in ["savepoint a", "rollback to a", "rollback work to savepoint a", "release a"] {
        assert_eq!(Kind::of(sql), Kind::Ordinary, "{sql}");
    }
    assert!(matches!(Kind::of("\\i other.sql"), Kind::Foreign(_)));
    assert!(matches!(Kind::of("copy t (a) from stdin"), Kind::Foreign(_)));
}

proptest! {
    /// Pieces of every sort, in any order: nothing is lost, and cutting a statement again gives it alone.
    #[test]
    fn statements_and_what_is_between_them_give_the_script_back(
        parts in proptest::collection::vec(prop_oneof![
            Just("'a;''b'"), Just("E'\\';'"), Just("\"n;\"\"\""), Just("$$;'$$"), Just("$q$ ; $$ $q$"), Just("-- c;'\n"),
            Just("/* ; /* ; */ */"), Just(";"), Just("("), Just(")"), Just(" "), Just("\n"), Just("begin"), Just("atomic "),
            Just("create function "), Just("end "), Just("case "), Just("x"), Just("1.5"), Just("ü€"), Just("$1"), Just("U&'\\0041'"), Just("\r\n"),
        ], 0..40)
    ) {
        let text: String = parts.concat();
        let Ok(script) = Script::parse(&text) else { return Ok(()) };
        let mut back = String::new();
        let mut at = 0;
        for statement in script.statements() {
            let start = statement.sql.as_ptr() as usize - script.text().as_ptr() as usize;
            prop_assert!(start >= at);
            prop_assert!(tokens(&text[at..start]).unwrap().iter().all(|t| t.kind == TokenKind::Gap || &text[at..start][t.range.clone()] == ";"));
            back.push_str(&text[at..start]);
            back.push_str(statement.sql);
            at = start + statement.sql.len();
        }
        back.push_str(&text[at..]);
        prop_assert_eq!(back, text);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        drop(Script::parse(&text));
    }
}
