//! A plan as PostgreSQL tells it in JSON, read into its nodes. Pure.

use std::hash::Hasher;

use serde::Serialize;
use serde_json::{Map, Value};
use siphasher::sip::SipHasher13;

use super::shape::without_values;

/// So many nodes are read.
const MOST: usize = 200;

/// A plan that costs so many times as much as the one before is worse.
const WORSE: f64 = 1.5;

/// What a plan's conditions are called.
const CONDITIONS: [&str; 7] =
    ["Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "TID Cond"];

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanNode {
    /// How deep it lies; 0 for the topmost.
    pub depth: usize,
    /// Such as `Seq Scan`.
    pub kind: String,
    /// The table it reads or writes.
    pub relation: Option<String>,
    /// The index it uses.
    pub index: Option<String>,
    /// Its cost with everything below, as the planner estimates it.
    pub total_cost: f64,
    /// Its cost without what is below.
    pub own_cost: f64,
    /// The rows it gives, as the planner estimates them.
    pub rows: f64,
    /// Its conditions, without values, such as `Filter: (airport = $1)`.
    pub conditions: Vec<String>,
}

impl PlanNode {
    /// `Seq Scan on flights`.
    pub fn name(&self) -> String {
        let mut name = self.kind.clone();
        for (word, what) in [(" using ", &self.index), (" on ", &self.relation)] {
            if let Some(what) = what {
                name.push_str(word);
                name.push_str(what);
            }
        }
        name
    }
}

/// A plan: its nodes, each before those below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub(super) nodes: Vec<PlanNode>,
    pub(super) hash: u64,
}

impl Plan {
    /// Reads what `EXPLAIN (FORMAT JSON)` tells; `None` if it is something else.
    pub fn read(json: &str) -> Option<Plan> {
        let told: Value = serde_json::from_str(json).ok()?;
        let top = told.get(0)?.get("Plan")?.as_object()?;
        let mut nodes = Vec::new();
        gather(top, 0, &mut nodes);
        let mut hasher = SipHasher13::new_with_keys(0, 1);
        for node in &nodes {
            hasher.write_usize(node.depth);
            for part in [Some(&node.kind), node.relation.as_ref(), node.index.as_ref()] {
                hasher.write(part.map_or("", String::as_str).as_bytes());
                hasher.write_u8(0);
            }
        }
        Some(Plan { nodes, hash: hasher.finish() })
    }

    /// What all of it costs, as the planner estimates it.
    pub fn cost(&self) -> f64 {
        self.nodes.first().map_or(0.0, |node| node.total_cost)
    }

    /// The node that costs most by itself.
    pub fn costly(&self) -> Option<&PlanNode> {
        self.nodes.iter().max_by(|one, other| one.own_cost.total_cmp(&other.own_cost))
    }

    /// The tables that it reads or writes.
    pub(super) fn tables(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|node| node.relation.as_deref())
    }

    /// Whether it goes another way than `before`, and one that costs more.
    pub(super) fn is_worse_than(&self, before: &Plan) -> bool {
        self.hash != before.hash && self.cost() > before.cost() * WORSE
    }

    /// As people read it: a line for each node.
    pub fn lines(&self) -> Vec<String> {
        let line = |node: &PlanNode| {
            let indent = "  ".repeat(node.depth);
            let conditions: String = node.conditions.iter().map(|condition| format!("; {condition}")).collect();
            format!("{indent}{} (cost {:.2}, rows {:.0}){conditions}", node.name(), node.total_cost, node.rows)
        };
        self.nodes.iter().map(line).collect()
    }
}

/// Notes a node and what is below it; gives its cost.
fn gather(node: &Map<String, Value>, depth: usize, all: &mut Vec<PlanNode>) -> f64 {
    let text = |key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
    let number = |key: &str| node.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let total_cost = number("Total Cost");
    let mut conditions: Vec<String> = CONDITIONS
        .iter()
        .filter_map(|name| text(name).map(|condition| format!("{name}: {}", without_values(&condition))))
        .collect();
    if let Some(keys) = node.get("Sort Key").and_then(Value::as_array) {
        let keys: Vec<String> = keys.iter().filter_map(Value::as_str).map(without_values).collect();
        conditions.push(format!("Sort Key: {}", keys.join(", ")));
    }
    let mut kind = text("Node Type").unwrap_or_else(|| "?".into());
    if let Some(operation) = text("Operation").filter(|_| kind == "ModifyTable") {
        kind = operation;
    }
    let at = all.len();
    all.push(PlanNode {
        depth,
        kind,
        relation: text("Relation Name"),
        index: text("Index Name"),
        total_cost,
        own_cost: total_cost,
        rows: number("Plan Rows"),
        conditions,
    });
    let mut below = 0.0;
    for child in node.get("Plans").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        if all.len() < MOST {
            below += gather(child, depth + 1, all);
        }
    }
    all[at].own_cost = (total_cost - below).max(0.0);
    total_cost
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"[{"Plan": {"Node Type": "Limit", "Total Cost": 20.0, "Plan Rows": 5, "Plans": [
        {"Node Type": "Hash Join", "Total Cost": 130.0, "Plan Rows": 50, "Hash Cond": "(a.id = b.id)", "Plans": [
            {"Node Type": "Seq Scan", "Relation Name": "flights", "Total Cost": 100.0, "Plan Rows": 50,
             "Filter": "((name = 'Sentinel'::text) AND (id = $1))"},
            {"Node Type": "Index Scan", "Relation Name": "seats", "Index Name": "seats_pkey", "Total Cost": 10.0, "Plan Rows": 1}
        ]}]}}]"#;

    #[test]
    fn the_costly_node_is_named_and_no_value_is_shown() {
        let plan = Plan::read(JSON).unwrap();
        assert_eq!((plan.nodes.len(), plan.cost()), (4, 20.0));
        assert_eq!(plan.costly().unwrap().name(), "Seq Scan on flights");
        assert_eq!(plan.nodes[1].own_cost, 20.0);
        let lines = plan.lines();
        assert_eq!(
            lines[2],
            "    Seq Scan on flights (cost 100.00, rows 50); Filter: ((name = ?::text) AND (id = $1))"
        );
        assert_eq!(lines[3], "    Index Scan using seats_pkey on seats (cost 10.00, rows 1)");
    }

    #[test]
    fn worse_is_another_way_at_a_higher_cost() {
        let before = Plan::read(JSON).unwrap();
        let dearer = Plan::read(&JSON.replace("20.0", "200.0")).unwrap();
        assert!(!dearer.is_worse_than(&before), "the same way: only the table has grown");
        let other = Plan::read(&JSON.replace("20.0", "200.0").replace("Hash Join", "Nested Loop")).unwrap();
        assert!(other.is_worse_than(&before) && !before.is_worse_than(&other));
    }

    #[test]
    fn anything_else_is_no_plan() {
        for text in ["", "[]", "{}", r#"[{"Plan": 1}]"#, "nonsense"] {
            assert_eq!(Plan::read(text), None);
        }
    }
}
