//! A plan, read into what it does with each table: what it compares, what it sorts by, how much of the table it takes.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::conditions::{self, Predicate, Subject};

/// So deep and wide a plan is looked at.
const MOST: usize = 300;

const CONDITIONS: [&str; 6] = ["Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter"];

/// What is done with a table in a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    pub(super) alias: String,
    pub(super) schema: String,
    pub(super) table: String,
    /// All of them hold.
    pub(super) all: Vec<Predicate>,
    /// Branches, of which one holds.
    pub(super) either: Vec<Vec<Vec<Predicate>>>,
    /// What is sorted by, if columns of this table alone.
    pub(super) orders: Vec<Vec<(Subject, &'static str)>>,
    /// The rows that are left of it, as the planner estimates.
    pub(super) rows: f64,
    /// Whether not all of the rows are wanted.
    pub(super) limited: bool,
    /// Whether all of the table is read.
    pub(super) sequential: bool,
}

/// What a plan says.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// What it costs, as the planner estimates it.
    pub cost: f64,
    /// The indexes it uses.
    pub indexes: BTreeSet<String>,
    /// Conditions that could not be read.
    pub unread: usize,
    pub(super) scans: Vec<Scan>,
}

/// Reads what `EXPLAIN (VERBOSE, FORMAT JSON)` tells; `None` if it is something else.
pub fn read(json: &str) -> Option<Reading> {
    let told: Value = serde_json::from_str(json).ok()?;
    let top = told.get(0)?.get("Plan")?.as_object()?;
    let mut walk = Walk::default();
    walk.node(top, &Above::default());
    let mut reading = Reading {
        cost: top.get("Total Cost").and_then(Value::as_f64).unwrap_or(0.0),
        indexes: walk.indexes,
        scans: walk.scans,
        unread: 0,
    };
    walk.conditions.sort_unstable();
    walk.conditions.dedup();
    for text in &walk.conditions {
        let read = conditions::read(text);
        reading.unread += read.unread;
        for predicate in read.all {
            if let Some(scan) = reading.scans.iter_mut().find(|scan| scan.alias == predicate.subject.alias)
                && !scan.all.contains(&predicate)
            {
                scan.all.push(predicate);
            }
        }
        for branches in read.either {
            let alias = branches.iter().flatten().map(|predicate| predicate.subject.alias.clone()).next();
            let same = |predicate: &Predicate| Some(&predicate.subject.alias) == alias.as_ref();
            if branches.iter().all(|branch| !branch.is_empty() && branch.iter().all(same))
                && let Some(scan) = reading.scans.iter_mut().find(|scan| Some(&scan.alias) == alias.as_ref())
            {
                scan.either.push(branches);
            }
        }
    }
    for (mut keys, limited) in walk.orders {
        if let [only] = reading.scans.as_slice() {
            for (subject, _) in keys.iter_mut().filter(|(subject, _)| subject.alias.is_empty()) {
                subject.alias.clone_from(&only.alias);
            }
        }
        let Some((first, _)) = keys.first() else { continue };
        let alias = first.alias.clone();
        if keys.iter().all(|(subject, _)| subject.alias == alias)
            && let Some(scan) = reading.scans.iter_mut().find(|scan| scan.alias == alias)
        {
            scan.orders.push(keys);
            scan.limited |= limited;
        }
    }
    Some(reading)
}

/// What stands above a node.
#[derive(Debug, Clone, Copy, Default)]
struct Above {
    limit: bool,
    merge: bool,
}

#[derive(Default)]
struct Walk {
    scans: Vec<Scan>,
    conditions: Vec<String>,
    orders: Vec<(Vec<(Subject, &'static str)>, bool)>,
    indexes: BTreeSet<String>,
    seen: usize,
}

impl Walk {
    fn node(&mut self, node: &Map<String, Value>, above: &Above) {
        self.seen += 1;
        let text = |key: &str| node.get(key).and_then(Value::as_str);
        let kind = text("Node Type").unwrap_or_default();
        self.conditions.extend(CONDITIONS.iter().filter_map(|name| text(name)).map(str::to_owned));
        self.indexes.extend(text("Index Name").map(str::to_owned));
        if let (Some(table), Some(alias)) = (text("Relation Name"), text("Alias"))
            && kind != "ModifyTable"
        {
            self.scans.push(Scan {
                alias: alias.to_owned(),
                schema: text("Schema").unwrap_or("public").to_owned(),
                table: table.to_owned(),
                rows: node.get("Plan Rows").and_then(Value::as_f64).unwrap_or(0.0),
                sequential: kind == "Seq Scan",
                ..Scan::default()
            });
        }
        let texts = |key: &str| -> Vec<&str> {
            node.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
        };
        if kind.ends_with("Sort") && !above.merge {
            let keys: Option<Vec<_>> = texts("Sort Key").into_iter().map(conditions::sort_key).collect();
            self.orders.extend(keys.map(|keys| (keys, above.limit)));
        }
        if kind == "Aggregate" && text("Strategy") == Some("Plain") {
            let extremes: Option<Vec<_>> = texts("Output").into_iter().map(conditions::extreme).collect();
            for subject in extremes.into_iter().flatten() {
                self.orders.push((vec![(subject, "")], true));
            }
        }
        let below = Above { limit: above.limit || kind == "Limit", merge: kind == "Merge Join" };
        for child in node.get("Plans").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
            if self.seen < MOST {
                self.node(child, &below);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"[{"Plan": {"Node Type": "Limit", "Total Cost": 20.0, "Plans": [
        {"Node Type": "Sort", "Sort Key": ["o.created_at DESC"], "Plans": [
        {"Node Type": "Hash Join", "Hash Cond": "(o.customer_id = c.id)", "Plans": [
            {"Node Type": "Seq Scan", "Relation Name": "orders", "Schema": "public", "Alias": "o", "Plan Rows": 50,
             "Filter": "((o.state = $1) AND ((o.a = $2) OR (o.b = $3)))"},
            {"Node Type": "Index Scan", "Relation Name": "customers", "Alias": "c", "Index Name": "customers_pkey", "Plan Rows": 1,
             "Index Cond": "(c.id = $4)"}
        ]}]}]}}]"#;

    #[test]
    fn each_table_has_its_conditions_and_its_order() {
        let reading = read(PLAN).unwrap();
        assert_eq!((reading.cost, reading.unread), (20.0, 0));
        assert_eq!(reading.indexes.iter().collect::<Vec<_>>(), ["customers_pkey"]);
        let [orders, customers] = reading.scans.as_slice() else { panic!("{reading:#?}") };
        assert_eq!((orders.all.len(), orders.either.len(), orders.rows, orders.limited), (2, 1, 50.0, true));
        assert_eq!(orders.orders[0][0].1, " DESC");
        assert_eq!((customers.all.len(), customers.orders.len()), (2, 0));
    }

    #[test]
    fn anything_else_is_no_plan() {
        for text in ["", "[]", "{}", r#"[{"Plan": 1}]"#, "nonsense"] {
            assert!(read(text).is_none());
        }
    }
}
