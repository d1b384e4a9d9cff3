use std::collections::BTreeMap;

use super::*;

fn object(kind: Kind, id: &str, name: &str) -> Object {
    let local = name.rsplit('.').next().unwrap().to_owned();
    let schema = (kind == Kind::Table).then(|| "s".to_owned());
    Object {
        kind,
        id: id.into(),
        name: name.into(),
        schema,
        local,
        of: None,
        create: format!("CREATE {name}"),
        drop: format!("DROP {name}"),
        on: format!("TABLE {name}"),
        grant_on: Some(name.to_owned()),
        parts: BTreeMap::new(),
    }
}

fn column(id: &str, table: &str, name: &str, parts: &[(&str, &str)]) -> Object {
    let mut object = object(Kind::Column, id, &format!("{table}.{name}"));
    object.of = Some(table.to_owned());
    object.parts = parts.iter().map(|(key, value)| (key.to_string(), Some(value.to_string()))).collect();
    object
}

fn sql(changes: Vec<Change>) -> Vec<String> {
    changes.into_iter().flat_map(|change| change.sql).collect()
}

#[test]
fn a_table_takes_its_columns_with_it_and_brings_them_back() {
    let with: Catalog = [object(Kind::Table, "1", "s.t"), column("1.1", "s.t", "a", &[])].into_iter().collect();
    assert_eq!(sql(changes(&Catalog::default(), &with)), ["DROP s.t"]);
    assert_eq!(sql(changes(&with, &Catalog::default())), ["CREATE s.t"]);
}

#[test]
fn a_renamed_table_comes_before_its_columns_and_makes_room_for_itself() {
    let before: Catalog = [object(Kind::Table, "1", "s.t"), column("1.1", "s.t", "a", &[])].into_iter().collect();
    let after: Catalog =
        [object(Kind::Table, "1", "s.u"), column("1.1", "s.u", "b", &[]), object(Kind::Table, "2", "s.t")]
            .into_iter()
            .collect();
    assert_eq!(sql(renames(&before, &after)), ["DROP s.t", "ALTER TABLE s.u RENAME TO t"]);
    let next: Catalog = [object(Kind::Table, "1", "s.t"), column("1.1", "s.t", "b", &[])].into_iter().collect();
    assert_eq!(sql(renames(&before, &next)), ["ALTER TABLE s.t RENAME COLUMN b TO a"]);
}

#[test]
fn a_type_change_takes_the_default_away_and_gives_it_back() {
    let before: Catalog =
        [object(Kind::Table, "1", "s.t"), column("1.1", "s.t", "a", &[("type", "int"), ("default", "1")])]
            .into_iter()
            .collect();
    let after: Catalog =
        [object(Kind::Table, "1", "s.t"), column("1.1", "s.t", "a", &[("type", "text"), ("default", "'1'")])]
            .into_iter()
            .collect();
    assert_eq!(
        sql(changes(&before, &after)),
        [
            "ALTER TABLE s.t ALTER COLUMN a DROP DEFAULT",
            "ALTER TABLE s.t ALTER COLUMN a TYPE int USING a::int",
            "ALTER TABLE s.t ALTER COLUMN a SET DEFAULT 1"
        ]
    );
    assert_eq!(before.differences(&after).len(), 2);
}

#[test]
fn a_column_that_must_not_be_null_comes_back_into_a_table_that_has_rows() {
    let table = object(Kind::Table, "1", "s.t");
    let mut mood = object(Kind::Enum, "2", "s.mood");
    mood.parts = [("labels".to_owned(), Some("'it''s, fine', 'bad'".to_owned()))].into();
    let added = |kind: &str, more: &[(&str, &str)]| {
        let parts = [&[("type", kind), ("not_null", "t")], more].concat();
        let before: Catalog = [table.clone(), mood.clone(), column("1.1", "s.t", "a", &parts)].into_iter().collect();
        sql(changes(&before, &[table.clone(), mood.clone()].into_iter().collect())).remove(0)
    };
    assert_eq!(added("numeric(10,2)", &[]), "CREATE s.t.a DEFAULT 0 NOT NULL");
    assert_eq!(added("timestamp(3) with time zone", &[]), "CREATE s.t.a DEFAULT 'epoch' NOT NULL");
    assert_eq!(added("text[]", &[]), "CREATE s.t.a DEFAULT '{}' NOT NULL");
    assert_eq!(added("s.mood", &[]), "CREATE s.t.a DEFAULT 'it''s, fine' NOT NULL");
    assert_eq!(added("integer", &[("default", "1")]), "CREATE s.t.a");
    // Of a type of somebody else nobody knows a value: SET NOT NULL follows, and says what it needs.
    assert_eq!(added("s.point", &[]), "CREATE s.t.a");
}

#[test]
fn rows_without_a_value_get_one_before_the_column_may_have_none_no_more() {
    let table = object(Kind::Table, "1", "s.t");
    let state =
        |parts: &[(&str, &str)]| -> Catalog { [table.clone(), column("1.1", "s.t", "a", parts)].into_iter().collect() };
    assert_eq!(
        sql(changes(&state(&[("type", "text"), ("not_null", "t")]), &state(&[("type", "text")]))),
        ["UPDATE s.t SET a = '' WHERE a IS NULL", "ALTER TABLE s.t ALTER COLUMN a SET NOT NULL"]
    );
    let mut unknown = changes(&state(&[("type", "s.point"), ("not_null", "t")]), &state(&[("type", "s.point")]));
    assert_eq!(unknown.remove(0).note.unwrap(), "fails while s.t.a has rows without a value: fill them in before");
}

#[test]
fn rights_and_comments_are_given_back() {
    let mut was = object(Kind::Table, "1", "s.t");
    was.parts =
        [("grants".to_owned(), Some("SELECT|bob|f".to_owned())), ("comment".to_owned(), Some("it's".to_owned()))]
            .into();
    let mut is = object(Kind::Table, "1", "s.t");
    is.parts = [("grants".to_owned(), Some("INSERT|eve|t".to_owned()))].into();
    let (before, after) = ([was].into_iter().collect(), [is].into_iter().collect());
    assert_eq!(
        sql(changes(&before, &after)),
        ["REVOKE INSERT ON s.t FROM eve", "GRANT SELECT ON s.t TO bob", "COMMENT ON TABLE s.t IS 'it''s'"]
    );
}
