//! Migrations of every kind, each on top of the one before.

/// What each does, and its script.
pub const CORPUS: &[(&str, &str)] = &[
    ("schemas", "CREATE SCHEMA shop; CREATE SCHEMA \"Odd Name\"; COMMENT ON SCHEMA shop IS 'it''s a shop \\ of sorts'"),
    (
        "enum",
        "CREATE TYPE shop.state AS ENUM ('new', 'paid', 'it''s sent'); COMMENT ON TYPE shop.state IS 'of an order'",
    ),
    ("domain", "CREATE DOMAIN shop.amount AS numeric(12, 2) DEFAULT 0 NOT NULL CONSTRAINT positive CHECK (VALUE >= 0)"),
    ("composite", "CREATE TYPE shop.address AS (street text, zip varchar(10))"),
    ("range", "CREATE TYPE shop.float_range AS RANGE (SUBTYPE = float8)"),
    ("sequence", "CREATE SEQUENCE shop.numbers AS int INCREMENT BY 5 START WITH 100 CACHE 3 CYCLE"),
    (
        "tables",
        "CREATE TABLE shop.customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, \
         email varchar(200) UNIQUE, born date, home shop.address, credit shop.amount); \
         CREATE TABLE shop.orders (id serial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES shop.customers ON DELETE CASCADE, \
         state shop.state NOT NULL DEFAULT 'new', total numeric(10, 2) DEFAULT 0 CHECK (total >= 0), \
         number int DEFAULT nextval('shop.numbers'), placed timestamptz NOT NULL DEFAULT now(), \
         taxed numeric GENERATED ALWAYS AS (total * 1.19) STORED)",
    ),
    (
        "odd_names",
        "CREATE TABLE \"Odd Name\".\"Table; drop\" (\"a\"\"b\" int, \"select\" text COLLATE \"C\", \"Ünï\" int[])",
    ),
    (
        "indexes",
        "CREATE INDEX ON shop.orders (customer_id, placed DESC); CREATE UNIQUE INDEX lower_name ON shop.customers (lower(name)) WHERE born IS NOT NULL",
    ),
    (
        "index_kinds",
        "CREATE INDEX orders_brin ON shop.orders USING brin (placed) WITH (pages_per_range = 8); CREATE INDEX orders_cover ON shop.orders (state) INCLUDE (total)",
    ),
    ("add_column", "ALTER TABLE shop.customers ADD COLUMN nick text, ADD COLUMN points int NOT NULL DEFAULT 0"),
    (
        "comments",
        "COMMENT ON TABLE shop.orders IS 'orders'; COMMENT ON COLUMN shop.orders.total IS 'in \"EUR\"'; COMMENT ON INDEX shop.lower_name IS 'for search'",
    ),
    ("defaults", "ALTER TABLE shop.customers ALTER COLUMN points SET DEFAULT 10, ALTER COLUMN nick SET DEFAULT 'none'"),
    ("not_null", "ALTER TABLE shop.customers ALTER COLUMN nick SET NOT NULL"),
    ("drop_not_null", "ALTER TABLE shop.customers ALTER COLUMN nick DROP NOT NULL, ALTER COLUMN nick DROP DEFAULT"),
    (
        "widen",
        "ALTER TABLE shop.orders ALTER COLUMN number TYPE bigint; ALTER TABLE shop.customers ALTER COLUMN points TYPE numeric(9, 2)",
    ),
    ("narrow", "ALTER TABLE shop.customers ALTER COLUMN email TYPE varchar(100)"),
    ("collation", "ALTER TABLE shop.customers ALTER COLUMN name TYPE text COLLATE \"C\""),
    ("check", "ALTER TABLE shop.customers ADD CONSTRAINT grown CHECK (born < '2020-01-01') NOT VALID"),
    ("validate", "ALTER TABLE shop.customers VALIDATE CONSTRAINT grown"),
    ("constraint_comment", "COMMENT ON CONSTRAINT grown ON shop.customers IS 'adults'"),
    ("exclude", "CREATE TABLE shop.rooms (id int PRIMARY KEY, during tstzrange, EXCLUDE USING gist (during WITH &&))"),
    (
        "deferrable",
        "ALTER TABLE shop.rooms ADD COLUMN owner bigint, ADD CONSTRAINT room_owner FOREIGN KEY (owner) REFERENCES shop.customers (id) DEFERRABLE INITIALLY DEFERRED",
    ),
    (
        "view",
        "CREATE VIEW shop.open_orders AS SELECT o.id, o.total, c.name FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.state <> 'paid'",
    ),
    ("view_on_view", "CREATE VIEW shop.big_orders AS SELECT id, name FROM shop.open_orders WHERE total > 1000"),
    (
        "replace_view",
        "CREATE OR REPLACE VIEW shop.open_orders AS SELECT o.id, o.total, c.name, o.placed FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.state = 'new'",
    ),
    (
        "view_options",
        "CREATE VIEW shop.careful WITH (security_barrier = true) AS SELECT id FROM shop.orders; COMMENT ON VIEW shop.careful IS 'with care'",
    ),
    (
        "materialized",
        "CREATE MATERIALIZED VIEW shop.totals AS SELECT customer_id, sum(total) AS total FROM shop.orders GROUP BY 1; CREATE UNIQUE INDEX totals_key ON shop.totals (customer_id)",
    ),
    (
        "function",
        "CREATE FUNCTION shop.twice(i int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT i * 2; $$; COMMENT ON FUNCTION shop.twice(int) IS 'i * 2'",
    ),
    (
        "replace_function",
        "CREATE OR REPLACE FUNCTION shop.twice(i int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT i + i; $$",
    ),
    (
        "overload",
        "CREATE FUNCTION shop.twice(t text) RETURNS text LANGUAGE plpgsql AS $body$ BEGIN RETURN t || t; END $body$",
    ),
    (
        "atomic",
        "CREATE FUNCTION shop.newest() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT max(id) FROM shop.customers; END",
    ),
    ("procedure", "CREATE PROCEDURE shop.clean() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM shop.rooms; END $$"),
    ("aggregate", "CREATE AGGREGATE shop.product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1')"),
    (
        "function_in_use",
        "ALTER TABLE shop.orders ADD COLUMN doubled int DEFAULT shop.twice(3); CREATE INDEX orders_number ON shop.orders (number)",
    ),
    (
        "trigger",
        "CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.placed := now(); RETURN NEW; END $$; \
                 CREATE TRIGGER touch BEFORE UPDATE OF total ON shop.orders FOR EACH ROW WHEN (NEW.total > 0) EXECUTE FUNCTION shop.touch()",
    ),
    ("disable_trigger", "ALTER TABLE shop.orders DISABLE TRIGGER touch"),
    ("rule", "CREATE RULE keep AS ON DELETE TO shop.customers DO INSTEAD (SELECT 1; SELECT 2)"),
    (
        "policy",
        "ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON shop.orders AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (total > 0) WITH CHECK (total > 1)",
    ),
    (
        "force_security",
        "ALTER TABLE shop.orders FORCE ROW LEVEL SECURITY; ALTER POLICY own ON shop.orders USING (total > 5)",
    ),
    (
        "grants",
        "GRANT SELECT, INSERT ON shop.orders TO reader; GRANT UPDATE (total) ON shop.orders TO reader WITH GRANT OPTION; GRANT USAGE ON SCHEMA shop TO PUBLIC",
    ),
    (
        "revokes",
        "REVOKE INSERT ON shop.orders FROM reader; REVOKE EXECUTE ON FUNCTION shop.twice(int) FROM PUBLIC; GRANT USAGE ON SEQUENCE shop.numbers TO reader",
    ),
    ("type_grant", "REVOKE USAGE ON TYPE shop.state FROM PUBLIC; GRANT USAGE ON TYPE shop.state TO reader"),
    (
        "owner",
        "ALTER TABLE shop.rooms OWNER TO reader; ALTER FUNCTION shop.newest() OWNER TO reader; ALTER TYPE shop.address OWNER TO reader",
    ),
    ("default_privileges", "ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO reader"),
    ("enum_value", "ALTER TYPE shop.state ADD VALUE 'returned' AFTER 'paid'"),
    ("rename_value", "ALTER TYPE shop.state RENAME VALUE 'new' TO 'fresh'"),
    ("attributes", "ALTER TYPE shop.address ADD ATTRIBUTE city text, DROP ATTRIBUTE zip"),
    ("attribute_type", "CREATE TYPE shop.point AS (x int, y int); ALTER TYPE shop.point ALTER ATTRIBUTE x TYPE bigint"),
    (
        "domain_change",
        "ALTER DOMAIN shop.amount DROP CONSTRAINT positive; ALTER DOMAIN shop.amount ADD CONSTRAINT below CHECK (VALUE < 1000000); ALTER DOMAIN shop.amount DROP NOT NULL; ALTER DOMAIN shop.amount SET DEFAULT 1",
    ),
    (
        "sequence_change",
        "ALTER SEQUENCE shop.numbers AS bigint INCREMENT BY 1 NO CYCLE; COMMENT ON SEQUENCE shop.numbers IS 'numbers'",
    ),
    ("identity", "ALTER TABLE shop.rooms ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY"),
    ("identity_always", "ALTER TABLE shop.rooms ALTER COLUMN id SET GENERATED ALWAYS"),
    ("drop_identity", "ALTER TABLE shop.rooms ALTER COLUMN id DROP IDENTITY"),
    ("drop_expression", "ALTER TABLE shop.orders ALTER COLUMN taxed DROP EXPRESSION"),
    ("rename_table", "ALTER TABLE shop.rooms RENAME TO halls"),
    ("rename_column", "ALTER TABLE shop.halls RENAME COLUMN during TO taken"),
    ("rename_column_in_views", "ALTER TABLE shop.customers RENAME COLUMN name TO full_name"),
    (
        "rename_constraint",
        "ALTER TABLE shop.halls RENAME CONSTRAINT room_owner TO hall_owner; ALTER INDEX shop.orders_brin RENAME TO orders_placed",
    ),
    (
        "rename_others",
        "ALTER FUNCTION shop.twice(text) RENAME TO doubled; ALTER TYPE shop.address RENAME TO place; ALTER SEQUENCE shop.numbers RENAME TO order_numbers; ALTER TRIGGER touch ON shop.orders RENAME TO touched",
    ),
    ("rename_schema", "ALTER SCHEMA \"Odd Name\" RENAME TO plain"),
    ("move", "ALTER TABLE plain.\"Table; drop\" SET SCHEMA shop; ALTER FUNCTION shop.newest() SET SCHEMA plain"),
    ("swap", "ALTER TABLE shop.halls RENAME TO old_halls; CREATE TABLE shop.halls (id bigint PRIMARY KEY, label text)"),
    (
        "swap_columns",
        "ALTER TABLE shop.customers RENAME COLUMN nick TO nick_before; ALTER TABLE shop.customers ADD COLUMN nick int",
    ),
    (
        "type_under_views",
        "DROP VIEW shop.big_orders; DROP VIEW shop.open_orders; ALTER TABLE shop.orders ALTER COLUMN placed TYPE timestamp; \
         CREATE VIEW shop.open_orders AS SELECT o.id, o.placed FROM shop.orders o",
    ),
    ("drop_column_under_view", "DROP MATERIALIZED VIEW shop.totals; ALTER TABLE shop.orders DROP COLUMN doubled"),
    ("drop_cascade", "ALTER TABLE shop.orders DROP COLUMN customer_id CASCADE"),
    (
        "storage",
        "ALTER TABLE shop.customers ALTER COLUMN full_name SET STORAGE EXTERNAL, ALTER COLUMN full_name SET STATISTICS 500; ALTER TABLE shop.customers ALTER COLUMN points SET (n_distinct = 100)",
    ),
    ("options", "ALTER TABLE shop.customers SET (fillfactor = 70, autovacuum_enabled = false)"),
    (
        "options_back",
        "ALTER TABLE shop.customers RESET (autovacuum_enabled); ALTER TABLE shop.customers SET (fillfactor = 80)",
    ),
    ("unlogged", "CREATE UNLOGGED TABLE shop.scratch (id int)"),
    ("logged", "ALTER TABLE shop.scratch SET LOGGED"),
    ("replica_identity", "ALTER TABLE shop.scratch REPLICA IDENTITY FULL"),
    ("statistics", "CREATE STATISTICS shop.together (dependencies) ON full_name, email FROM shop.customers"),
    (
        "partitions",
        "CREATE TABLE shop.events (id bigint, at date NOT NULL, what text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
                    CREATE TABLE shop.events_2025 PARTITION OF shop.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01'); \
                    CREATE TABLE shop.events_rest PARTITION OF shop.events DEFAULT; CREATE INDEX events_what ON shop.events (what)",
    ),
    ("partition_column", "ALTER TABLE shop.events ADD COLUMN size int DEFAULT 1"),
    ("detach", "ALTER TABLE shop.events DETACH PARTITION shop.events_2025"),
    (
        "attach",
        "ALTER TABLE shop.events ATTACH PARTITION shop.events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    ),
    (
        "list_partitions",
        "CREATE TABLE shop.parts (k text, v int) PARTITION BY LIST (k); CREATE TABLE shop.parts_a PARTITION OF shop.parts FOR VALUES IN ('a', 'b''c')",
    ),
    ("inherits", "CREATE TABLE shop.base (a int, b text); CREATE TABLE shop.child (c int) INHERITS (shop.base)"),
    ("no_inherit", "ALTER TABLE shop.child NO INHERIT shop.base"),
    (
        "circle",
        "CREATE TABLE shop.one (id int PRIMARY KEY, other int); CREATE TABLE shop.two (id int PRIMARY KEY, other int REFERENCES shop.one); \
                ALTER TABLE shop.one ADD CONSTRAINT one_two FOREIGN KEY (other) REFERENCES shop.two",
    ),
    ("drop_circle", "ALTER TABLE shop.one DROP CONSTRAINT one_two; DROP TABLE shop.two, shop.one"),
    ("primary_key", "ALTER TABLE shop.scratch ADD PRIMARY KEY (id)"),
    ("drop_primary_key", "ALTER TABLE shop.halls DROP CONSTRAINT halls_pkey"),
    (
        "using_index",
        "CREATE UNIQUE INDEX halls_id ON shop.halls (id); ALTER TABLE shop.halls ADD CONSTRAINT halls_id PRIMARY KEY USING INDEX halls_id",
    ),
    ("drop_view", "DROP VIEW shop.careful"),
    (
        "drop_function",
        "DROP FUNCTION shop.doubled(text); DROP PROCEDURE shop.clean(); DROP AGGREGATE shop.product(int)",
    ),
    ("drop_index", "DROP INDEX shop.orders_cover; DROP INDEX shop.lower_name"),
    ("drop_trigger", "DROP TRIGGER touched ON shop.orders; DROP FUNCTION shop.touch()"),
    ("drop_policy", "DROP POLICY own ON shop.orders; ALTER TABLE shop.orders NO FORCE ROW LEVEL SECURITY"),
    ("drop_rule", "DROP RULE keep ON shop.customers"),
    ("drop_table", "DROP TABLE shop.events; DROP TABLE shop.parts"),
    ("drop_types", "DROP TYPE shop.float_range; DROP TYPE shop.point"),
    ("drop_statistics", "DROP STATISTICS shop.together"),
    ("drop_sequence", "ALTER TABLE shop.orders ALTER COLUMN number DROP DEFAULT; DROP SEQUENCE shop.order_numbers"),
    ("comment_away", "COMMENT ON TABLE shop.orders IS NULL; COMMENT ON SCHEMA shop IS NULL"),
    ("everything", "DROP SCHEMA shop CASCADE; DROP SCHEMA plain CASCADE"),
];
