use super::*;

fn migration(version: &str, up: &str) -> Migration {
    let alone = up.to_uppercase().contains("CONCURRENTLY");
    Migration {
        version: version.into(),
        name: format!("{version}_x"),
        up: up.into(),
        down: None,
        in_transaction: !alone,
    }
}

fn found(up: &str) -> Vec<&'static str> {
    lint(&[migration("1", up)], |_| true)
        .into_iter()
        .filter(|finding| finding.allowed.is_none())
        .map(|f| f.rule)
        .collect()
}

/// Each rule with a statement that it finds and the safe way that it does not.
#[test]
fn each_rule_finds_the_danger_and_lets_the_safe_way_pass() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "volatile-default",
            "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()",
            "ALTER TABLE t ADD COLUMN u timestamptz DEFAULT now()",
        ),
        ("volatile-default", "ALTER TABLE t ADD COLUMN n bigserial", "ALTER TABLE t ADD COLUMN n bigint DEFAULT 1 + 2"),
        (
            "volatile-default",
            "ALTER TABLE t ADD COLUMN n int GENERATED ALWAYS AS (a + 1) STORED",
            "ALTER TABLE t ADD COLUMN n int",
        ),
        (
            "not-null-without-default",
            "ALTER TABLE t ADD COLUMN n int NOT NULL",
            "ALTER TABLE t ADD COLUMN n int NOT NULL DEFAULT 0",
        ),
        ("unique-column", "ALTER TABLE t ADD COLUMN n int UNIQUE", "ALTER TABLE t ADD COLUMN n int"),
        (
            "change-type",
            "ALTER TABLE t ALTER COLUMN n TYPE bigint USING n::bigint",
            "ALTER TABLE t ALTER COLUMN n SET DEFAULT 1",
        ),
        ("set-not-null", "ALTER TABLE t ALTER n SET NOT NULL", "ALTER TABLE t ALTER n DROP NOT NULL"),
        ("rename", "ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE t RENAME CONSTRAINT a TO b"),
        ("rename", "ALTER TABLE t RENAME TO u", "ALTER INDEX a RENAME TO b"),
        ("rename", "ALTER TYPE t RENAME VALUE 'a' TO 'b'", "ALTER TYPE t ADD VALUE 'b'"),
        ("rewrite", "ALTER TABLE t SET UNLOGGED", "ALTER TABLE t SET (fillfactor = 70)"),
        ("rewrite", "CLUSTER t USING i", "SELECT 1"),
        (
            "foreign-key-not-valid",
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (a)",
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (a) NOT VALID",
        ),
        ("foreign-key-not-valid", "ALTER TABLE t ADD COLUMN n int REFERENCES u", "ALTER TABLE t ADD COLUMN n int"),
        (
            "check-not-valid",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
        ),
        (
            "unique-using-index",
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)",
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE USING INDEX i",
        ),
        (
            "unique-using-index",
            "ALTER TABLE t ADD PRIMARY KEY (a)",
            "ALTER TABLE t ADD CONSTRAINT p PRIMARY KEY USING INDEX i",
        ),
        ("exclude", "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING gist (during WITH &&)", "SELECT 1"),
        (
            "validate-apart",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT c",
            "ALTER TABLE t VALIDATE CONSTRAINT c",
        ),
        ("drops-data", "DROP TABLE t", "CREATE TABLE t (i int); DROP TABLE t"),
        ("drops-data", "ALTER TABLE t DROP COLUMN a", "ALTER TABLE t DROP CONSTRAINT a"),
        ("drops-data", "TRUNCATE t", "DELETE FROM t WHERE a = 1"),
        ("index-concurrently", "CREATE UNIQUE INDEX i ON t (a)", "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)"),
        ("index-concurrently", "CREATE INDEX i ON t (a)", "CREATE TABLE t (a int); CREATE INDEX i ON public.t (a)"),
        ("drop-index-concurrently", "DROP INDEX i", "DROP INDEX CONCURRENTLY i"),
        ("reindex-concurrently", "REINDEX TABLE t", "REINDEX TABLE CONCURRENTLY t"),
        ("index-name", "CREATE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX CONCURRENTLY i ON t (a)"),
        ("refresh-concurrently", "REFRESH MATERIALIZED VIEW v", "REFRESH MATERIALIZED VIEW CONCURRENTLY v"),
        ("lock-timeout", "SET lock_timeout = 0", "SET lock_timeout = '3s'"),
        (
            "one-table",
            "ALTER TABLE t ADD COLUMN a int; ALTER TABLE u ADD COLUMN a int",
            "ALTER TABLE t ADD COLUMN a int; ALTER TABLE t ADD COLUMN b int",
        ),
        ("backfill", "UPDATE t SET a = 1", "UPDATE t SET a = 1 WHERE id = 7"),
        ("backfill", "UPDATE t SET a = 1 WHERE a IS NULL", "UPDATE t SET a = 1 WHERE id IN (7, 8) AND a IS NULL"),
        ("backfill", "DELETE FROM t WHERE id > 0 OR id = 7", "DELETE FROM t WHERE id BETWEEN 1 AND 100"),
        (
            "work-under-lock",
            "ALTER TABLE t ADD COLUMN a int; INSERT INTO u SELECT a FROM t",
            "INSERT INTO u SELECT a FROM t; ALTER TABLE t ADD COLUMN a int",
        ),
        (
            "work-under-lock",
            "ALTER TABLE t ADD COLUMN a int; ALTER TABLE t VALIDATE CONSTRAINT c",
            "ALTER TABLE t VALIDATE CONSTRAINT c; ALTER TABLE t ADD COLUMN a int",
        ),
        (
            "work-under-lock",
            "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); UPDATE u SET a = 1",
            "ALTER TABLE t ADD COLUMN a int; INSERT INTO u VALUES (1)",
        ),
        ("lock-table", "LOCK TABLE t", "SELECT 1"),
        ("not-understood", "ALTER TABLE t FROBNICATE", "COMMENT ON TABLE t IS 'x'"),
        (
            "does-anything",
            "DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
        ),
        ("exception-without-reason", "-- dbopt: allow(rename)\nSELECT 1", "-- dbopt: allow(rename) because\nSELECT 1"),
        ("unknown-exception", "-- dbopt: allow(nonsense) because\nSELECT 1", "SELECT 1"),
    ];
    let mut wrong = Vec::new();
    for (rule, danger, safe) in cases {
        if !found(danger).contains(rule) {
            wrong.push(format!("{rule} does not find: {danger} ({:?})", found(danger)));
        }
        if found(safe).contains(rule) {
            wrong.push(format!("{rule} finds: {safe}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for rule in rules() {
        assert!(cases.iter().any(|(name, ..)| *name == rule.name), "{} has no case", rule.name);
    }
}

#[test]
fn an_exception_needs_a_reason_and_holds_for_its_statement_alone() {
    let up = "-- dbopt: allow(drops-data, rename) gone since release 42\nDROP TABLE a;\nDROP TABLE b;\n-- dbopt: allow(drops-data)\nDROP TABLE c";
    let all = lint(&[migration("1", up)], |_| true);
    let told: Vec<_> = all.iter().map(|f| (f.line, f.rule, f.allowed.as_deref())).collect();
    assert_eq!(
        told,
        [
            (2, "drops-data", Some("gone since release 42")),
            (3, "drops-data", None),
            (5, "drops-data", None),
            (5, "exception-without-reason", None)
        ]
    );
}

#[test]
fn a_check_that_an_earlier_migration_validated_makes_not_null_safe() {
    let all = [
        migration("1", "ALTER TABLE t ADD CONSTRAINT c CHECK (n IS NOT NULL AND m > 0) NOT VALID"),
        migration("2", "ALTER TABLE public.t VALIDATE CONSTRAINT c"),
        migration("3", "ALTER TABLE t ALTER COLUMN n SET NOT NULL"),
        migration("4", "ALTER TABLE t ALTER COLUMN m SET NOT NULL"),
    ];
    let found: Vec<_> = lint(&all, |_| true).into_iter().map(|finding| finding.file).collect();
    assert_eq!(found, ["4_x/up.sql"]);
    assert!(lint(&all, |migration| migration.version == "3").is_empty());
    // Only as long as it is there.
    let dropped = migration("21", "ALTER TABLE t DROP CONSTRAINT c");
    let found = lint(&[all[0].clone(), all[1].clone(), dropped, all[2].clone()], |_| true);
    assert_eq!(found.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["set-not-null"]);
    let at_once = migration("3", "ALTER TABLE t ALTER COLUMN n SET NOT NULL, DROP CONSTRAINT c");
    let found = lint(&[all[0].clone(), all[1].clone(), at_once], |_| true);
    assert_eq!(found.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["set-not-null"]);
}
