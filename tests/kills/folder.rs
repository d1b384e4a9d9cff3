//! What is migrated: scripts of several statements, and statements that cannot run in a transaction, each slow enough to be met.

use dbopt_tests::migrations::Folder;

const IN_TRANSACTIONS: [(&str, &str, &str); 7] = [
    (
        "01_people",
        "CREATE TYPE state AS ENUM ('new', 'old'); CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, state state DEFAULT 'new');
         INSERT INTO people SELECT i, 'name ' || i FROM generate_series(1, 60) AS i; SELECT pg_sleep(0.02); CREATE INDEX ON people (name);",
        "DROP TABLE people; SELECT pg_sleep(0.02); DROP TYPE state;",
    ),
    (
        "02_slow",
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(0.003); RETURN i; END $$;",
        "DROP FUNCTION slow(int);",
    ),
    (
        "04_orders",
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int REFERENCES people, total numeric(12, 2) CHECK (total >= 0));
         INSERT INTO orders (person, total) SELECT id, id FROM people; SELECT pg_sleep(0.02); COMMENT ON TABLE orders IS 'orders';",
        "SELECT pg_sleep(0.02); DROP TABLE orders;",
    ),
    (
        "05_state",
        "ALTER TABLE people ADD COLUMN changed timestamptz; SELECT pg_sleep(0.03); UPDATE people SET state = 'old' WHERE id % 2 = 0;
         ALTER TABLE people RENAME COLUMN name TO full_name;",
        "ALTER TABLE people RENAME COLUMN full_name TO name; UPDATE people SET state = 'new'; SELECT pg_sleep(0.03); ALTER TABLE people DROP COLUMN changed;",
    ),
    (
        "07_touch",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed := '2026-01-01'; RETURN NEW; END $$;
         CREATE TRIGGER touch BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch(); SELECT pg_sleep(0.02);
         UPDATE people SET full_name = upper(full_name);",
        "DROP TRIGGER touch ON people; SELECT pg_sleep(0.02); DROP FUNCTION touch();
         UPDATE people SET full_name = lower(full_name), changed = NULL;",
    ),
    (
        "08_rich",
        "CREATE VIEW rich AS SELECT p.id, sum(o.total) AS total FROM people p JOIN orders o ON o.person = p.id GROUP BY 1; SELECT pg_sleep(0.02);
         CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM orders;",
        "DROP MATERIALIZED VIEW totals; SELECT pg_sleep(0.02); DROP VIEW rich;",
    ),
    (
        "10_wider",
        "ALTER TABLE people ALTER COLUMN changed TYPE date; SELECT pg_sleep(0.03); ALTER TABLE orders ALTER COLUMN total SET NOT NULL;",
        "ALTER TABLE orders ALTER COLUMN total DROP NOT NULL; SELECT pg_sleep(0.03); ALTER TABLE people ALTER COLUMN changed TYPE timestamptz;",
    ),
];

const ALONE: [(&str, &str, &str); 3] = [
    ("03_index", "CREATE INDEX CONCURRENTLY people_slow ON people (slow(id));", "DROP INDEX CONCURRENTLY people_slow;"),
    (
        "06_unique",
        "CREATE UNIQUE INDEX CONCURRENTLY one_order ON orders (slow(person));",
        "DROP INDEX CONCURRENTLY one_order;",
    ),
    ("09_again", "REINDEX INDEX CONCURRENTLY people_slow;", "REINDEX INDEX CONCURRENTLY people_slow;"),
];

/// The folder.
pub(super) fn folder() -> Folder {
    let folder = Folder::of(&IN_TRANSACTIONS);
    for (name, up, down) in ALONE {
        folder.add_alone(name, up, down);
    }
    folder
}

/// Whether a version cannot run in a transaction.
pub(super) fn is_alone(version: &str) -> bool {
    ALONE.iter().any(|(name, ..)| name.starts_with(&format!("{version}_")))
}
