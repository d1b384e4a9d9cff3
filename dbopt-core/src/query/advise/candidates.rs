//! From what a plan does with a table to the indexes that could help it. More are proposed than are good: the planner decides among them.

use super::catalog::{Catalog, Table};
use super::conditions::{Predicate, Subject, Test};
use super::definition::{Definition, Key, quoted};
use super::report::Place;
use super::scans::{Reading, Scan};
use super::workload::Statement;

/// An index that finds more than this part of a table saves little: its pages are read anyway.
const MOST: f64 = 0.1;

/// A column with so many different values at most is one that rows are sorted into, such as a state.
const STATES: f64 = 100.0;

/// So many are proposed for one table of a statement.
const SO_MANY: usize = 16;

/// An index that could help a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The index.
    pub definition: Definition,
    /// Whether it is worth a word where no planner can be asked: the first of its table, and the table is read for few of its rows.
    pub likely: bool,
}

/// What could help a statement that is run so, without what is there already.
pub fn propose(reading: &Reading, catalog: &Catalog) -> Vec<Proposal> {
    let mut all: Vec<Proposal> = Vec::new();
    for scan in &reading.scans {
        let Some(table) = catalog.table(&scan.schema, &scan.table) else { continue };
        if table.is_small() || table.partitioned {
            continue;
        }
        let mut proposals = Proposals { scan, table, catalog, found: Vec::new() };
        proposals.gather();
        let selective = scan.rows <= table.rows * MOST;
        let few = scan.sequential
            && selective
            && scan.all.iter().any(|p| !matches!(p.test, Test::Join | Test::IsNotNull | Test::Unlike(_)));
        let ordered = scan.limited && !scan.orders.is_empty();
        for (at, definition) in proposals.found.into_iter().enumerate() {
            if !all.iter().any(|known| known.definition == definition) {
                all.push(Proposal { definition, likely: at == 0 && (few || ordered) });
            }
        }
    }
    all
}

/// What the server itself asks when rows are deleted that others refer to, once for each row.
pub fn foreign_keys(catalog: &Catalog, least_calls: f64) -> Vec<Statement> {
    let asked = |key: &super::ForeignKey| {
        let child = catalog.table(&key.table.0, &key.table.1)?;
        let parent = catalog.table(&key.parent.0, &key.parent.1)?;
        if parent.deleted < least_calls || child.is_small() {
            return None;
        }
        let conditions: Vec<String> =
            key.columns.iter().zip(1..).map(|(column, n)| format!("{} = ${n}", quoted(column))).collect();
        Some(Statement {
            sql: format!(
                "SELECT 1 FROM ONLY {}.{} WHERE {}",
                quoted(&child.schema),
                quoted(&child.name),
                conditions.join(" AND ")
            ),
            calls: parent.deleted,
            total_ms: 0.0,
            places: vec![Place {
                method: format!("each DELETE from {}, for the foreign key {}", parent.name, key.name),
                at: None,
            }],
        })
    };
    catalog.foreign_keys.iter().filter_map(asked).collect()
}

struct Proposals<'a> {
    scan: &'a Scan,
    table: &'a Table,
    catalog: &'a Catalog,
    found: Vec<Definition>,
}

impl Proposals<'_> {
    fn gather(&mut self) {
        let scan = self.scan;
        let selective = scan.rows <= self.table.rows * MOST;
        let orders: Vec<Vec<Key>> = match scan.limited || selective {
            true => scan.orders.iter().take(2).filter_map(|order| self.order(order)).flat_map(with_beginning).collect(),
            false => Vec::new(),
        };
        let joins = scan.all.iter().any(|predicate| predicate.test == Test::Join);
        if !selective && !joins && orders.is_empty() {
            return;
        }
        let conditions: Vec<&Predicate> = scan.all.iter().collect();
        self.full(&conditions, &orders, None);
        self.partial(&conditions, &orders);
        for branch in scan.either.iter().flatten() {
            self.full(&branch.iter().collect::<Vec<_>>(), &[], None);
        }
        for predicate in &conditions {
            if !matches!(predicate.test, Test::Unlike(_) | Test::IsNull | Test::IsNotNull | Test::True | Test::False) {
                let keys = self.key(predicate).into_iter().collect();
                self.add(keys, None);
            }
        }
    }

    /// Equality first, the most telling column first; then an order or a range, of which an index can follow only one.
    fn full(&mut self, conditions: &[&Predicate], orders: &[Vec<Key>], predicate: Option<&str>) {
        let (equal, one_of) = (self.keys(conditions, is_equal), self.keys(conditions, |test| *test == Test::OneOf));
        let ranges = self.keys(conditions, |test| matches!(test, Test::Range | Test::Prefix));
        for order in orders {
            self.add(chain([&equal, order]), predicate);
        }
        let found = chain([&equal, &one_of]);
        for range in ranges.iter().take(2) {
            self.add(chain([&found, &vec![range.clone()]]), predicate);
        }
        self.add(found.clone(), predicate);
        for order in orders {
            self.add(chain([&found, order]), predicate);
        }
        // The states say little: without them the index serves more statements.
        let telling: Vec<&Predicate> =
            conditions.iter().copied().filter(|predicate| !self.is_state(predicate)).collect();
        if telling.len() < conditions.len() && predicate.is_none() {
            let equal = self.keys(&telling, is_equal);
            for suffix in
                orders.iter().chain(&ranges.iter().take(2).map(|range| vec![range.clone()]).collect::<Vec<_>>())
            {
                self.add(chain([&equal, suffix]), None);
            }
            self.add(equal, None);
        }
    }

    /// Indexes of those rows only that a condition always asks for: what is not deleted, what is still open.
    fn partial(&mut self, conditions: &[&Predicate], orders: &[Vec<Key>]) {
        let fixed: Vec<&Predicate> =
            conditions.iter().copied().filter(|predicate| self.is_fixed(predicate)).take(3).collect();
        let mut choices: Vec<Vec<&Predicate>> = fixed.iter().map(|predicate| vec![*predicate]).collect();
        if fixed.len() > 1 {
            choices.push(fixed);
        }
        for chosen in choices {
            let texts: Vec<String> = chosen.iter().filter_map(|predicate| self.text(predicate)).collect();
            let text = if texts.len() == 1 { texts[0].clone() } else { format!("({})", texts.join(" AND ")) };
            let others: Vec<&Predicate> =
                conditions.iter().copied().filter(|predicate| !chosen.contains(predicate)).collect();
            let before = self.found.len();
            self.full(&others, orders, Some(&text));
            if self.found.len() == before {
                // Nothing else is asked for: any column will do.
                let id = self
                    .table
                    .indexes
                    .iter()
                    .find(|index| index.constraint && index.unique)
                    .and_then(|index| index.keys.first());
                let keys =
                    id.map(|key| Key::plain(key.sql.clone())).or_else(|| chosen.first().and_then(|p| self.key(p)));
                self.add(keys.into_iter().collect(), Some(&text));
            }
        }
    }

    fn add(&mut self, keys: Vec<Key>, predicate: Option<&str>) {
        if keys.is_empty() || self.found.len() >= SO_MANY {
            return;
        }
        let (schema, table) = (self.table.schema.clone(), self.table.name.clone());
        let definition = Definition { schema, table, keys, predicate: predicate.map(str::to_owned) };
        let covered = self.table.indexes.iter().any(|index| definition.is_covered_by(index));
        if !covered && !self.found.contains(&definition) {
            self.found.push(definition);
        }
    }

    fn keys(&self, conditions: &[&Predicate], wanted: impl Fn(&Test) -> bool) -> Vec<Key> {
        let mut found: Vec<(f64, Key)> = Vec::new();
        for predicate in conditions.iter().filter(|predicate| wanted(&predicate.test)) {
            if let Some(key) = self.key(predicate)
                && !found.iter().any(|(_, known)| *known == key)
            {
                found.push((self.values(&predicate.subject), key));
            }
        }
        found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        found.into_iter().map(|(_, key)| key).collect()
    }

    fn key(&self, predicate: &Predicate) -> Option<Key> {
        let mut key = self.plain_key(&predicate.subject)?;
        if predicate.test == Test::Prefix {
            let column = predicate.subject.column.as_deref().and_then(|name| self.table.column(name));
            if !column.map_or(self.catalog.sorts_bytes, |column| column.sorts_bytes(self.catalog.sorts_bytes)) {
                key.class = Some(match column.map(|column| column.kind.as_str()) {
                    Some("character varying") => "varchar_pattern_ops",
                    Some("character") => "bpchar_pattern_ops",
                    _ => "text_pattern_ops",
                });
            }
        }
        Some(key)
    }

    fn plain_key(&self, subject: &Subject) -> Option<Key> {
        let Some(name) = &subject.column else { return Some(Key::plain(subject.sql.clone())) };
        let column = self.table.column(name)?;
        match subject.relabelled && !column.is_text() {
            true => Some(Key::plain(format!("(({})::text)", subject.sql))),
            false => Some(Key::plain(subject.sql.clone())),
        }
    }

    /// The order without columns that are equal in all rows; read backwards if all of it is.
    fn order(&self, order: &[(Subject, &'static str)]) -> Option<Vec<Key>> {
        let equal = |subject: &Subject| self.scan.all.iter().any(|p| is_equal(&p.test) && p.subject.sql == subject.sql);
        let mut keys: Vec<Key> = Vec::new();
        for (subject, order) in order.iter().filter(|(subject, _)| !equal(subject)) {
            keys.push(Key { order, ..self.plain_key(subject)? });
        }
        let all = |order: &str| keys.iter().all(|key| key.order == order);
        let backwards = if all(" DESC") {
            ""
        } else if all(" DESC NULLS LAST") {
            " NULLS FIRST"
        } else if all(" NULLS LAST") {
            ""
        } else {
            return (!keys.is_empty()).then_some(keys);
        };
        keys.iter_mut().for_each(|key| key.order = backwards);
        (!keys.is_empty()).then_some(keys)
    }

    fn values(&self, subject: &Subject) -> f64 {
        let column = subject.column.as_deref().and_then(|name| self.table.column(name));
        column.map_or(self.table.rows, |column| column.values(self.table.rows))
    }

    fn is_state(&self, predicate: &Predicate) -> bool {
        matches!(predicate.test, Test::Equal(_) | Test::OneOf | Test::True | Test::False)
            && self.values(&predicate.subject) <= STATES
    }

    /// Whether the statement asks for the same rows each time, as far as this condition goes.
    fn is_fixed(&self, predicate: &Predicate) -> bool {
        match predicate.test {
            Test::IsNull | Test::IsNotNull | Test::True | Test::False => predicate.subject.column.is_some(),
            Test::Equal(Some(_)) => self.is_state(predicate),
            Test::Unlike(_) => self.values(&predicate.subject) <= STATES,
            _ => false,
        }
    }

    fn text(&self, predicate: &Predicate) -> Option<String> {
        let subject = &predicate.subject.sql;
        match &predicate.test {
            Test::IsNull => Some(format!("({subject} IS NULL)")),
            Test::IsNotNull => Some(format!("({subject} IS NOT NULL)")),
            Test::True => Some(subject.clone()),
            Test::False => Some(format!("(NOT {subject})")),
            Test::Unlike(constant) => Some(format!("({subject} <> {constant})")),
            Test::Equal(Some(constant)) => Some(format!("({subject} = {constant})")),
            _ => None,
        }
    }
}

/// An order, and its first key alone: what is sorted by that is quickly sorted by the rest.
fn with_beginning(order: Vec<Key>) -> Vec<Vec<Key>> {
    match order.as_slice() {
        [first, _, ..] => vec![
            order.clone(),
            vec![Key { order: if first.order == " DESC" { "" } else { first.order }, ..first.clone() }],
        ],
        _ => vec![order],
    }
}

fn is_equal(test: &Test) -> bool {
    matches!(test, Test::Equal(_) | Test::Join | Test::True | Test::False)
}

fn chain(parts: [&Vec<Key>; 2]) -> Vec<Key> {
    let mut all: Vec<Key> = Vec::new();
    for key in parts.into_iter().flatten() {
        if !all.iter().any(|known| known.sql == key.sql) {
            all.push(key.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{Column, ForeignKey, Index, IndexKey};
    use super::super::scans::read;
    use super::*;

    fn column(name: &str, kind: &str, distinct: f64) -> Column {
        Column { name: name.into(), kind: kind.into(), distinct, width: 8.0, ..Column::default() }
    }

    fn catalog(pages: f64) -> Catalog {
        let id = Index {
            name: "orders_pkey".into(),
            method: "btree".into(),
            keys: vec![IndexKey { sql: "id".into(), ..IndexKey::default() }],
            unique: true,
            constraint: true,
            valid: true,
            ..Index::default()
        };
        let orders = Table {
            schema: "public".into(),
            name: "orders".into(),
            rows: 100_000.0,
            pages,
            columns: vec![
                column("id", "bigint", -1.0),
                column("tenant_id", "bigint", 500.0),
                column("customer_id", "bigint", 20_000.0),
                column("state", "text", 5.0),
                column("email", "character varying", -1.0),
                column("created_at", "timestamp with time zone", -1.0),
                column("deleted_at", "timestamp with time zone", 100.0),
                column("urgent", "boolean", 2.0),
            ],
            indexes: vec![id],
            deleted: 50.0,
            ..Table::default()
        };
        Catalog { tables: vec![orders], ..Catalog::default() }
    }

    fn proposals(filter: &str, sort: &str, rows: f64, catalog: &Catalog) -> Vec<String> {
        let scan = serde_json::json!({
            "Node Type": "Seq Scan", "Relation Name": "orders", "Schema": "public", "Alias": "o", "Plan Rows": rows, "Filter": filter,
        });
        let scan = match sort {
            "" => scan,
            keys => {
                let keys: Vec<&str> = keys.split(", ").collect();
                serde_json::json!({"Node Type": "Limit", "Plans": [{"Node Type": "Sort", "Sort Key": keys, "Plans": [scan]}]})
            }
        };
        let reading = read(&serde_json::json!([{ "Plan": scan }]).to_string()).unwrap();
        propose(&reading, catalog).into_iter().map(|proposal| proposal.definition.to_string()).collect()
    }

    /// Conditions, order, rows, what must be proposed.
    #[test]
    fn what_could_help_is_among_the_proposals() {
        let cases = [
            ("(o.customer_id = $1)", "", 5.0, "orders(customer_id)"),
            ("((o.tenant_id = $1) AND (o.customer_id = $2))", "", 5.0, "orders(customer_id, tenant_id)"),
            ("((o.created_at > $1) AND (o.tenant_id = $2))", "", 5.0, "orders(tenant_id, created_at)"),
            ("(o.tenant_id = $1)", "o.created_at DESC", 5.0, "orders(tenant_id, created_at)"),
            ("(o.tenant_id = $1)", "o.created_at DESC, o.id DESC", 5.0, "orders(tenant_id, created_at, id)"),
            ("(o.tenant_id = $1)", "o.created_at DESC, o.id", 5.0, "orders(tenant_id, created_at DESC, id)"),
            ("(o.tenant_id = $1)", "o.tenant_id, o.created_at", 5.0, "orders(tenant_id, created_at)"),
            ("((o.email)::text = $1)", "", 1.0, "orders(email)"),
            ("((o.id)::text = $1)", "", 1.0, "orders(((id)::text))"),
            ("(lower((o.email)::text) = $1)", "", 1.0, "orders((lower((email)::text)))"),
            ("((o.email)::text ~~ 'a%'::text)", "", 1.0, "orders(email varchar_pattern_ops)"),
            (
                "((o.tenant_id = $1) AND (o.deleted_at IS NULL))",
                "",
                5.0,
                "orders(tenant_id) WHERE (deleted_at IS NULL)",
            ),
            ("((o.tenant_id = $1) AND (o.state = 'open'::text))", "", 5.0, "orders(tenant_id) WHERE (state = 'open')"),
            ("((o.tenant_id = $1) AND (o.state = $2))", "", 5.0, "orders(tenant_id)"),
            ("(o.urgent AND (o.tenant_id = $1))", "", 5.0, "orders(tenant_id) WHERE urgent"),
            ("(o.deleted_at IS NULL)", "", 5.0, "orders(id) WHERE (deleted_at IS NULL)"),
            ("(o.state = 'failed'::text)", "o.created_at", 5.0, "orders(created_at) WHERE (state = 'failed')"),
            ("((o.tenant_id = $1) OR (o.customer_id = $2))", "", 5.0, "orders(customer_id)"),
            ("(o.state <> 'done'::text)", "o.created_at", 5.0, "orders(created_at) WHERE (state <> 'done')"),
            ("(o.customer_id = ANY ($1))", "", 5.0, "orders(customer_id)"),
            ("", "o.created_at DESC", 100_000.0, "orders(created_at)"),
        ];
        for (filter, sort, rows, expected) in cases {
            let all = proposals(filter, sort, rows, &catalog(1000.0));
            assert!(all.iter().any(|one| one == expected), "{filter} {sort}: {all:#?}");
        }
    }

    #[test]
    fn nothing_is_proposed_where_nothing_helps() {
        let small = proposals("(o.customer_id = $1)", "", 5.0, &catalog(100.0));
        assert!(small.is_empty(), "a small table: {small:?}");
        let most = proposals("(o.state = $1)", "", 50_000.0, &catalog(1000.0));
        assert!(most.is_empty(), "most rows: {most:?}");
        let there = proposals("(o.id = $1)", "", 1.0, &catalog(1000.0));
        assert!(there.is_empty(), "an index is there: {there:?}");
        let parts = {
            let mut all = catalog(1000.0);
            all.tables[0].partitioned = true;
            all
        };
        assert!(proposals("(o.customer_id = $1)", "", 5.0, &parts).is_empty());
    }

    #[test]
    fn parents_that_lose_rows_ask_their_children() {
        let mut all = catalog(1000.0);
        let key = |name: &str| ("public".to_owned(), name.to_owned());
        all.foreign_keys.push(ForeignKey {
            name: "parent_fk".into(),
            table: key("orders"),
            columns: vec!["customer_id".into()],
            parent: key("orders"),
        });
        let asked = foreign_keys(&all, 10.0);
        assert_eq!(asked[0].sql, "SELECT 1 FROM ONLY public.orders WHERE customer_id = $1");
        assert!(foreign_keys(&all, 51.0).is_empty(), "too few were deleted");
    }
}
