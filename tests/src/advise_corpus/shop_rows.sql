-- What is generated refers to what is there: no need to look for each row.
SET session_replication_role = replica;
CREATE TABLE tenants (id bigint PRIMARY KEY, name text NOT NULL, plan text NOT NULL);
CREATE TABLE settings (tenant_id bigint NOT NULL REFERENCES tenants, key text NOT NULL, value text NOT NULL);
CREATE TABLE customers (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL REFERENCES tenants, email varchar(200) NOT NULL, name text NOT NULL, phone text,
    data jsonb NOT NULL, created_at timestamptz NOT NULL, deleted_at timestamptz, UNIQUE (tenant_id, email));
CREATE TABLE products (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL REFERENCES tenants, sku text NOT NULL, title text NOT NULL, price int NOT NULL, active boolean NOT NULL);
CREATE TABLE orders (
    id bigint PRIMARY KEY, tenant_id bigint NOT NULL REFERENCES tenants, customer_id bigint NOT NULL REFERENCES customers, state text NOT NULL,
    total int NOT NULL, created_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE INDEX orders_of_tenant ON orders (tenant_id, created_at);
CREATE TABLE order_items (
    id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, product_id bigint NOT NULL REFERENCES products, quantity int NOT NULL);
CREATE TABLE jobs (id bigint PRIMARY KEY, kind text NOT NULL, run_at timestamptz NOT NULL, done_at timestamptz, payload text NOT NULL);
CREATE TABLE events (id bigint PRIMARY KEY, tenant_id bigint NOT NULL, kind text NOT NULL, at timestamptz NOT NULL, ref bigint NOT NULL);
CREATE VIEW waiting_jobs AS SELECT id, kind, run_at FROM jobs WHERE done_at IS NULL;
INSERT INTO tenants SELECT n, 'Tenant ' || n, 'basic' FROM generate_series(1, 300) AS n;
INSERT INTO settings SELECT n % 300 + 1, 'key ' || n % 7, 'value' FROM generate_series(1, 2000) AS n;
INSERT INTO customers
SELECT n, n % 300 + 1, 'Someone' || n || '@example.com', 'Ann ' || n, CASE WHEN n % 3 > 0 THEN '+49 ' || n * 7 END,
       jsonb_build_object('code', 'code ' || n % 5000, 'n', n), timestamptz '2025-01-01Z' + n * interval '1 minute',
       CASE WHEN n % 50 = 0 THEN timestamptz '2026-01-01Z' END
FROM generate_series(1, 60000) AS n;
INSERT INTO products
SELECT n, n % 300 + 1, 'sku-' || n * 17 % 30000, 'Product ' || n || ' of many that are sold here', n % 100, n % 10 > 0
FROM generate_series(1, 30000) AS n;
INSERT INTO orders
SELECT n, n * 13 % 300 + 1, n::bigint * 7919 % 60000 + 1,
       CASE WHEN n::bigint * 7907 % 1000 = 0 THEN 'failed' WHEN n::bigint * 7907 % 1000 < 15 THEN 'open' WHEN n::bigint * 7907 % 1000 < 30 THEN 'cancelled' ELSE 'done' END,
       n % 5000, timestamptz '2025-01-01Z' + n * interval '2 minutes', CASE WHEN n % 100 = 0 THEN timestamptz '2026-01-01Z' END
FROM generate_series(1, 200000) AS n;
INSERT INTO order_items SELECT n, n::bigint * 6101 % 200000 + 1, n::bigint * 7919 % 30000 + 1, 1 FROM generate_series(1, 300000) AS n;
INSERT INTO jobs
SELECT n, 'kind ' || n % 5, timestamptz '2025-01-01Z' + n * interval '1 minute', CASE WHEN n % 200 > 0 THEN timestamptz '2026-01-01Z' END, repeat('x', 100)
FROM generate_series(1, 150000) AS n;
INSERT INTO events
SELECT n, n * 7 % 300 + 1, 'kind ' || n % 20, timestamptz '2025-01-01Z' + n::bigint * 7907 % 200000 * interval '1 minute', n::bigint * 7919 % 200000
FROM generate_series(1, 200000) AS n;
