-- want: orders(customer_id)
SELECT id, total FROM orders WHERE customer_id = $1;
-- want: none
SELECT id, total FROM orders WHERE tenant_id = $1 ORDER BY created_at DESC LIMIT $2;
-- want: none
SELECT id FROM orders WHERE tenant_id = $1 AND state = $2 ORDER BY created_at DESC LIMIT 20;
-- want: orders(tenant_id) WHERE (state = 'open') | orders(tenant_id, created_at) WHERE (state = 'open') | orders(tenant_id, state) | orders(tenant_id, state, created_at)
SELECT id, total FROM orders WHERE tenant_id = $1 AND state = 'open' ORDER BY created_at;
-- want: orders(created_at) WHERE (state = 'failed') | orders(state) | orders(state, created_at) | orders(id) WHERE (state = 'failed')
SELECT id, total FROM orders WHERE state = 'failed' ORDER BY created_at;
-- want: order_items(order_id)
SELECT product_id, quantity FROM order_items WHERE order_id = $1;
-- want: order_items(order_id)
SELECT i.product_id, o.total FROM orders AS o JOIN order_items AS i ON i.order_id = o.id WHERE o.id = $1;
-- want: order_items(product_id)
SELECT sum(quantity) FROM order_items WHERE product_id = $1;
-- want: customers((lower((email)::text)))
SELECT id FROM customers WHERE lower(email) = $1;
-- want: none
SELECT id FROM customers WHERE tenant_id = $1 AND email = $2;
-- want: customers(email)
SELECT id, tenant_id FROM customers WHERE email = $1;
-- want: customers(phone)
SELECT id FROM customers WHERE phone = $1;
-- want: customers(name) | customers(name text_pattern_ops)
SELECT id FROM customers WHERE name LIKE 'Ann 123%';
-- want: jobs(run_at) WHERE (done_at IS NULL)
SELECT id, payload FROM jobs WHERE done_at IS NULL ORDER BY run_at LIMIT 10;
-- want: jobs(kind) WHERE (done_at IS NULL) | jobs(id) WHERE (done_at IS NULL)
SELECT id FROM jobs WHERE done_at IS NULL AND kind = $1;
-- want: jobs(kind) WHERE (done_at IS NULL) | jobs(id) WHERE (done_at IS NULL)
SELECT id, run_at FROM waiting_jobs WHERE kind = $1;
-- want: jobs(run_at) WHERE (done_at IS NULL)
SELECT min(run_at) FROM jobs WHERE done_at IS NULL;
-- want: none
SELECT id FROM jobs WHERE kind = $1;
-- want: events(tenant_id, at)
SELECT id, kind FROM events WHERE tenant_id = $1 AND at >= $2 AND at < $3;
-- want: events(tenant_id, kind, at) | events(kind, tenant_id, at) | events(tenant_id, at) | events(tenant_id, kind)
SELECT id FROM events WHERE tenant_id = $1 AND kind = $2 ORDER BY at DESC LIMIT 20;
-- want: events(tenant_id, at) | events(tenant_id, at DESC, id)
SELECT id, kind FROM events WHERE tenant_id = $1 ORDER BY at DESC, id LIMIT 20;
-- want: none
SELECT count(*) FROM events WHERE kind IN ($1, $2, $3, $4, $5, $6);
-- want: none
SELECT value FROM settings WHERE tenant_id = $1 AND key = $2;
-- want: none
SELECT id FROM tenants WHERE name = $1;
-- want: products(sku) | products(sku, tenant_id) | products(tenant_id, sku)
SELECT id, title FROM products WHERE tenant_id = $1 AND sku = $2;
-- want: products(tenant_id) | products(tenant_id) WHERE active
SELECT id, title FROM products WHERE tenant_id = $1 AND active;
-- want: none
SELECT id, name FROM customers WHERE tenant_id = $1 AND deleted_at IS NULL;
-- want: none
DELETE FROM orders WHERE id = $1;
-- want: customers((data ->> 'code'))
SELECT id FROM customers WHERE data ->> 'code' = $1;
-- want: orders(customer_id)
UPDATE orders SET deleted_at = now() WHERE customer_id = $1;
-- want: none
SELECT id FROM orders WHERE total > $1;
-- want: orders(created_at)
SELECT id, total FROM orders WHERE created_at BETWEEN $1 AND $2;
-- want: none
SELECT count(*) FROM orders WHERE date_trunc('day', created_at) = $1;
-- want: orders(customer_id) | orders(customer_id, tenant_id)
SELECT id FROM orders WHERE tenant_id = $1 AND customer_id = $2;
-- want: customers(email) + orders(customer_id)
SELECT o.id, o.total FROM customers AS c JOIN orders AS o ON o.customer_id = c.id WHERE c.email = $1;
-- want: orders(created_at) WHERE (state <> 'done')
SELECT id FROM orders WHERE state <> 'done' ORDER BY created_at;
-- want: none
SELECT id FROM orders WHERE state = $1;
-- want: none
SELECT id FROM products WHERE title ILIKE '%many%';
-- want: none
SELECT DISTINCT state FROM orders;
-- want: events(ref)
SELECT id FROM events WHERE ref = ANY ($1);
-- want: events(ref) + orders(customer_id)
SELECT id FROM events WHERE ref IN (SELECT id FROM orders WHERE customer_id = $1);
-- want: orders(customer_id)
SELECT id, total FROM orders WHERE customer_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC;
-- want: none
SELECT id FROM orders ORDER BY id DESC LIMIT 20 OFFSET $1;
-- want: orders(tenant_id, total)
SELECT id FROM orders WHERE tenant_id = $1 AND total BETWEEN $2 AND $3;
-- want: events(ref)
WITH found AS (SELECT id, kind FROM events WHERE ref = $1) SELECT kind, count(*) FROM found GROUP BY kind;
-- want: none
INSERT INTO events (id, tenant_id, kind, at, ref) VALUES ($1, $2, $3, now(), $4);
-- want: none
SELECT tenant_id, sum(total) FROM orders GROUP BY tenant_id;
-- want: none
SELECT t.name, count(*) FROM tenants AS t JOIN orders AS o ON o.tenant_id = t.id GROUP BY t.name;
-- want: order_items(product_id)
SELECT p.title, i.quantity FROM products AS p JOIN order_items AS i ON i.product_id = p.id WHERE p.id = $1;
-- want: events(tenant_id) | events(tenant_id, kind) | events(kind, tenant_id)
SELECT count(*) FROM events WHERE tenant_id = $1 AND kind = $2;
-- want: orders(created_at)
SELECT id FROM orders WHERE state = 'done' ORDER BY created_at DESC LIMIT 20 OFFSET 5;
-- want: customers(phone)
SELECT id FROM customers WHERE phone = $1 OR id = $2;
