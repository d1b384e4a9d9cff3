use super::*;
use proptest::prelude::*;

fn text(sql: &str) -> String {
    Shape::of(sql).unwrap().text
}

fn id(sql: &str) -> u64 {
    Shape::of(sql).unwrap().id
}

#[test]
fn values_spaces_and_comments_do_not_matter() {
    let wanted = "SELECT a, b FROM t WHERE c = ? AND d IN (..)";
    for sql in [
        "SELECT a, b FROM t WHERE c = 1 AND d IN (1)",
        "SELECT a,b\nFROM t -- x\n WHERE c='it''s' AND d IN (1, -2, 'x'::text)",
        "SELECT a, b FROM t WHERE c = 1e5 AND d IN (1,2,3,4)",
    ] {
        assert_eq!(text(sql), wanted);
    }
    assert_eq!(id("select A from T"), id("SELECT a FROM t"));
    assert_ne!(id("select \"A\" from T"), id("SELECT \"a\" FROM t"));
}

#[test]
fn placeholders_are_counted_again_behind_lists() {
    let one = r#"SELECT "a" FROM "t" WHERE "id" IN ($1) AND "x" = $2"#;
    let three = r#"SELECT "a" FROM "t" WHERE "id" IN ($1, $2, $3) AND "x" = $4"#;
    assert_eq!(id(one), id(three));
    assert_eq!(text(three), r#"SELECT "a" FROM "t" WHERE "id" IN (..) AND "x" = $1"#);
}

#[test]
fn many_rows_are_one_text_and_one_row_is_another() {
    let rows = |n: usize| format!("INSERT INTO t (a, b) VALUES {} RETURNING a", vec!["($1, now())"; n].join(", "));
    assert_eq!(text(&rows(3)), "INSERT INTO t (a, b) VALUES ($1, now()), .. RETURNING a");
    assert_eq!(id(&rows(3)), id(&rows(300)));
    assert_ne!(id(&rows(1)), id(&rows(2)));
    assert!(Shape::of(&rows(2)).unwrap().batch && !Shape::of(&rows(1)).unwrap().batch);
}

fn identifying(sql: &str) -> u64 {
    Shape::of(sql).unwrap().identifying
}

#[test]
fn only_what_says_which_rows_are_meant_identifies() {
    assert_eq!(identifying("SELECT * FROM t WHERE id = $1 LIMIT $2"), 0b01);
    assert_eq!(identifying("SELECT * FROM t WHERE a = $1 ORDER BY b LIMIT $2 OFFSET $3"), 0b001);
    assert_eq!(identifying("SELECT * FROM t WHERE id > $1 AND a = $2 LIMIT $3"), 0b010);
    assert_eq!(identifying("SELECT * FROM t WHERE (a, id) > ($1, $2) LIMIT $3"), 0);
    assert_eq!(identifying("SELECT * FROM t WHERE d BETWEEN $1 AND $2 AND e = $3"), 0b100);
    assert_eq!(identifying("UPDATE t SET a = $1, b = $2 WHERE id = $3"), 0b100);
    assert_eq!(identifying("INSERT INTO t (a, b) VALUES ($1, $2)"), 0b11);
    assert_eq!(identifying("SELECT * FROM t WHERE id = ANY($1)"), 0);
    assert!(Shape::of("SELECT * FROM t WHERE id = ANY($1)").unwrap().batch);
    assert!(Shape::of("SELECT * FROM t WHERE id IN ($1, $2)").unwrap().batch);
}

#[test]
fn written_values_identify_as_placeholders_do() {
    let literals = |sql: &str| Shape::of(sql).unwrap().literals;
    assert_ne!(literals("SELECT * FROM t WHERE id = 1 LIMIT 1"), literals("SELECT * FROM t WHERE id = 2 LIMIT 1"));
    assert_eq!(literals("SELECT * FROM t WHERE id = 1 OFFSET 1"), literals("SELECT * FROM t WHERE id = 1 OFFSET 9"));
}

#[test]
fn the_key_is_found() {
    let shape = Shape::of(r#"SELECT "seats"."id" FROM "seats" WHERE ("seats"."flight_id" = $1) LIMIT $2"#).unwrap();
    let key = shape.key.unwrap();
    assert_eq!((key.table.as_str(), key.column.as_str(), key.param), ("seats", "flight_id", 1));
}

#[test]
fn scripts_and_utilities_are_told() {
    let several = Shape::of("SELECT 1; SELECT 2;").unwrap();
    assert_eq!((several.statements, several.kind), (2, Kind::Read));
    assert_eq!(Shape::of("COMMIT").unwrap().kind, Kind::Utility);
    assert_eq!(Shape::of("").unwrap().kind, Kind::Utility);
    assert!(Shape::of("SELECT 'a").is_none());
    assert!(Shape::of("SELECT pg_last_wal_replay_lsn()").unwrap().own);
}

#[test]
fn plan_conditions_lose_their_values() {
    assert_eq!(without_values("((name)::text = 'secret'::text)"), "((name)::text = ?::text)");
    assert_eq!(without_values("(id = $1)"), "(id = $1)");
}

#[test]
fn a_long_text_is_cut_and_still_told_apart() {
    let long = |end: &str| format!("SELECT {} {end}", "a, ".repeat(5_000));
    assert!(text(&long("b")).len() < SHOWN + 10);
    assert_ne!(id(&long("b FROM x")), id(&long("b FROM y")));
}

proptest! {
    #[test]
    fn any_text_is_survived(sql in "[-a-z '\"$0-9();,.=<>/*\n]{0,200}") {
        let _ = Shape::of(&sql);
        let _ = without_values(&sql);
    }

    #[test]
    fn no_value_is_left(value in "[a-z]{4,20}", number in 1000u32..) {
        let sql = format!("SELECT a FROM t WHERE x = '{value}' AND y = {number} AND z IN ('{value}', {number}) LIMIT {number}");
        let text = text(&sql);
        let number = number.to_string();
        prop_assert!(!text.contains(&format!("'{value}")) && !text.contains(&number), "{}", text);
    }
}
