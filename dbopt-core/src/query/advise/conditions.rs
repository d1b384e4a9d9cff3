//! Conditions of a plan, read into what an index could serve. What cannot be read is left out: it filters, but no index is proposed for it.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, UnaryOperator, Value,
    visit_expressions, visit_expressions_mut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::definition::quoted;

/// What is compared: a column, or an expression over columns of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The table's name within the plan.
    pub(super) alias: String,
    /// As it stands in CREATE INDEX.
    pub(super) sql: String,
    /// The column's name, if it is one.
    pub(super) column: Option<String>,
    /// A column that the plan shows as `(a)::text`: the same column, if its type is one for texts.
    pub(super) relabelled: bool,
}

/// How it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    /// With a value; with one that stands in the statement, its SQL.
    Equal(Option<String>),
    /// With one of several values.
    OneOf,
    /// With a column of another table.
    Join,
    /// With a border.
    Range,
    /// `LIKE 'a%'`.
    Prefix,
    /// With a value that stands in the statement, and is not wanted.
    Unlike(String),
    IsNull,
    IsNotNull,
    True,
    False,
}

/// A condition on one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Predicate {
    pub(super) subject: Subject,
    pub(super) test: Test,
}

/// What was read of a text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conditions {
    /// All of them hold.
    pub(super) all: Vec<Predicate>,
    /// Of each of these, one branch holds; a branch is what holds in it.
    pub(super) either: Vec<Vec<Vec<Predicate>>>,
    /// Parts that could not be read.
    pub(super) unread: usize,
}

/// Reads a condition as EXPLAIN (VERBOSE) writes it.
pub(super) fn read(text: &str) -> Conditions {
    let mut found = Conditions::default();
    match parse(text) {
        Some(expr) => gather(&expr, &mut found),
        // One part that cannot be parsed, such as a subplan, does not hide the others.
        None => {
            let parts = parts(text);
            for part in &parts {
                match parse(part) {
                    Some(expr) if parts.len() > 1 => gather(&expr, &mut found),
                    _ => found.unread += 1,
                }
            }
        }
    }
    found
}

/// A key of a sort, with its order; such as `t.a DESC NULLS LAST`.
pub(super) fn sort_key(text: &str) -> Option<(Subject, &'static str)> {
    const ORDERS: [&str; 4] = [" DESC NULLS LAST", " DESC", " NULLS FIRST", " NULLS LAST"];
    let order = ORDERS.into_iter().find(|order| text.ends_with(order)).unwrap_or_default();
    let subject = subject(&parse(text.strip_suffix(order)?)?)?;
    Some((subject, order))
}

/// What `min(..)` or `max(..)` looks for.
pub(super) fn extreme(text: &str) -> Option<Subject> {
    let Expr::Function(function) = parse(text)? else { return None };
    let name = function.name.to_string();
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] if name == "min" || name == "max" => match argument {
            // With one table alone the plan leaves its name out.
            Expr::Identifier(column) => Some(Subject {
                alias: String::new(),
                sql: quoted(&column.value),
                column: Some(column.value.clone()),
                relabelled: false,
            }),
            other => subject(other),
        },
        _ => None,
    }
}

fn parse(text: &str) -> Option<Expr> {
    // Deep nesting is refused by the parser; a text of a megabyte is not for it.
    if text.len() > 16 * 1024 {
        return None;
    }
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?;
    let expr = parser.parse_expr().ok()?;
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(expr)
}

/// `((a) AND (b))` in its parts: each stands in parentheses of its own.
fn parts(text: &str) -> Vec<&str> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    let (mut depth, mut quoted, mut from, mut all) = (0_usize, false, 0, Vec::new());
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 && inner[at..].starts_with(" AND ") => {
                all.push(&inner[from..at]);
                from = at + 5;
            }
            _ => {}
        }
    }
    all.push(&inner[from..]);
    all
}

fn gather(expr: &Expr, found: &mut Conditions) {
    match expr {
        Expr::Nested(inner) => gather(inner, found),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            gather(left, found);
            gather(right, found);
        }
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
            let mut branches = Vec::new();
            branch(expr, &mut branches);
            found.either.push(branches);
        }
        other => found.all.extend(single(other)),
    }
}

fn branch(expr: &Expr, branches: &mut Vec<Vec<Predicate>>) {
    match expr {
        Expr::Nested(inner) => branch(inner, branches),
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            branch(left, branches);
            branch(right, branches);
        }
        other => {
            let mut inside = Conditions::default();
            gather(other, &mut inside);
            branches.push(inside.all);
        }
    }
}

/// What one comparison says: of one table, or of both that it joins.
fn single(expr: &Expr) -> Vec<Predicate> {
    let one =
        |subject: Option<Subject>, test: Test| subject.map(|subject| Predicate { subject, test }).into_iter().collect();
    match expr {
        Expr::IsNull(inner) => one(subject(inner), Test::IsNull),
        Expr::IsNotNull(inner) => one(subject(inner), Test::IsNotNull),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => one(plain(expr), Test::False),
        Expr::CompoundIdentifier(_) => one(plain(expr), Test::True),
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_value(right) => {
            one(subject(left), Test::OneOf)
        }
        Expr::InList { expr, list, negated: false } if list.iter().all(is_value) => one(subject(expr), Test::OneOf),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => equal(left, right),
        Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => match constant(right) {
            Some(constant) => one(plain(left), Test::Unlike(constant)),
            None => Vec::new(),
        },
        Expr::BinaryOp { left, op: BinaryOperator::PGLikeMatch, right } if begins_with_text(right) => {
            one(subject(left), Test::Prefix)
        }
        Expr::BinaryOp { left, op, right } if is_order(op) => {
            if is_value(right) {
                one(subject(first(left)), Test::Range)
            } else if is_value(left) {
                one(subject(first(right)), Test::Range)
            } else {
                Vec::new()
            }
        }
        _ => Vec::new(),
    }
}

fn is_order(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq)
}

fn equal(left: &Expr, right: &Expr) -> Vec<Predicate> {
    let mut found = Vec::new();
    for (mine, other) in [(left, right), (right, left)] {
        let Some(subject) = subject(mine) else { continue };
        let aliases = aliases(other);
        let test = match aliases.as_slice() {
            [] if is_value(other) => Test::Equal(constant(other)),
            [] => continue,
            others if others.contains(&subject.alias) => continue,
            _ => Test::Join,
        };
        found.push(Predicate { subject, test });
    }
    found
}

/// `ROW(a, b) < ROW($1, $2)` is looked up by its first column.
fn first(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => first(inner),
        Expr::Tuple(all) => all.first().unwrap_or(expr),
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => match &function.args {
            FunctionArguments::List(list) => match list.args.first() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => first,
                _ => expr,
            },
            _ => expr,
        },
        other => other,
    }
}

/// A column, not an expression.
fn plain(expr: &Expr) -> Option<Subject> {
    subject(expr).filter(|subject| subject.column.is_some())
}

fn subject(expr: &Expr) -> Option<Subject> {
    match expr {
        Expr::Nested(inner) => subject(inner),
        Expr::CompoundIdentifier(names) => column(names),
        Expr::Cast { expr: inner, data_type: DataType::Text, .. }
            if matches!(bare(inner), Expr::CompoundIdentifier(_)) =>
        {
            Some(Subject { relabelled: true, ..subject(inner)? })
        }
        Expr::Function(_) | Expr::Cast { .. } | Expr::BinaryOp { .. } => expression(expr),
        _ => None,
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}

fn column(names: &[Ident]) -> Option<Subject> {
    let [alias, column] = names else { return None };
    let (alias, column) = (alias.value.clone(), column.value.clone());
    Some(Subject { alias, sql: quoted(&column), column: Some(column), relabelled: false })
}

/// An expression over one table's columns and constants.
fn expression(expr: &Expr) -> Option<Subject> {
    let aliases = aliases(expr);
    let [alias] = aliases.as_slice() else { return None };
    let fixed = visit_expressions(expr, |inner| match inner {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => ControlFlow::Break(()),
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if fixed.is_break() {
        return None;
    }
    let mut own = expr.clone();
    let mut quotes = false;
    let _all: ControlFlow<()> = visit_expressions_mut(&mut own, |inner| {
        match inner {
            Expr::CompoundIdentifier(names) => {
                if let Some(column) = names.pop() {
                    *inner = Expr::Identifier(column);
                }
            }
            Expr::Cast { expr: value, data_type: DataType::Text, .. } if matches!(value.as_ref(), Expr::Value(_)) => {
                *inner = value.as_ref().clone();
            }
            Expr::Nested(nested) if matches!(nested.as_ref(), Expr::Nested(_)) => *inner = nested.as_ref().clone(),
            _ => {}
        }
        quotes |= matches!(inner, Expr::Value(_));
        ControlFlow::Continue(())
    });
    let mut sql = format!("({own})");
    if !quotes {
        sql = sql.replace("::TEXT", "::text").replace("::DATE", "::date");
    }
    Some(Subject { alias: alias.clone(), sql, column: None, relabelled: false })
}

/// The tables whose columns stand in it.
fn aliases(expr: &Expr) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let _all: ControlFlow<()> = visit_expressions(expr, |inner| {
        if let Expr::CompoundIdentifier(names) = inner
            && let [alias, ..] = names.as_slice()
            && !all.contains(&alias.value)
        {
            all.push(alias.value.clone());
        }
        ControlFlow::Continue(())
    });
    all
}

/// Whether it is known before the table is looked at.
fn is_value(expr: &Expr) -> bool {
    let asks = visit_expressions(expr, |inner| match inner {
        Expr::CompoundIdentifier(_) | Expr::Subquery(_) | Expr::Identifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    asks.is_continue()
}

/// The SQL of a value that stands in the statement.
fn constant(expr: &Expr) -> Option<String> {
    match bare(expr) {
        Expr::Value(value) if !matches!(value.value, Value::Placeholder(_) | Value::Null) => Some(expr.to_string()),
        Expr::Cast { expr: inner, data_type: DataType::Text, .. } => constant(inner),
        Expr::Cast { expr: inner, .. } if constant(inner).is_some() => Some(expr.to_string()),
        _ => None,
    }
}

/// A pattern with something before its first wildcard.
fn begins_with_text(expr: &Expr) -> bool {
    match bare(expr) {
        Expr::Cast { expr: inner, .. } => begins_with_text(inner),
        Expr::Value(value) => {
            matches!(&value.value, Value::SingleQuotedString(text) if !text.is_empty() && !text.starts_with(['%', '_']))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let read = read(text);
        let show = |p: &Predicate| {
            let relabelled = if p.subject.relabelled { "~" } else { "" };
            format!("{}.{}{relabelled} {:?}", p.subject.alias, p.subject.sql, p.test)
        };
        let mut all: Vec<String> = read.all.iter().map(show).collect();
        all.extend(read.either.iter().flatten().flatten().map(|predicate| format!("or {}", show(predicate))));
        all
    }

    #[test]
    fn conditions_as_the_planner_writes_them() {
        let cases: &[(&str, &[&str])] = &[
            ("(t.a = $1)", &["t.a Equal(None)"]),
            ("($1 = t.a)", &["t.a Equal(None)"]),
            ("(t.state = 'open'::text)", &["t.state Equal(Some(\"'open'\"))"]),
            ("((t.a = 1) AND (t.b >= $1) AND (t.b < $2))", &["t.a Equal(Some(\"1\"))", "t.b Range", "t.b Range"]),
            ("((t.name)::text = $1)", &["t.name~ Equal(None)"]),
            ("(lower(t.email) = $1)", &["t.(lower(email)) Equal(None)"]),
            ("(lower((t.email)::text) = $1)", &["t.(lower((email)::text)) Equal(None)"]),
            ("(date(t.at) = $1)", &["t.(date(at)) Equal(None)"]),
            ("((t.at)::date = $1)", &["t.((at)::date) Equal(None)"]),
            ("((t.data ->> 'kind'::text) = $1)", &["t.(data ->> 'kind') Equal(None)"]),
            ("((t.data ->> $2) = $1)", &[]),
            ("(t.a = ANY ($1))", &["t.a OneOf"]),
            ("(t.a = ANY ('{1,2}'::bigint[]))", &["t.a OneOf"]),
            ("(t.a = ANY (ARRAY[$1, $2]))", &["t.a OneOf"]),
            ("(o.customer_id = c.id)", &["o.customer_id Join", "c.id Join"]),
            ("(t.a = t.b)", &[]),
            ("(t.deleted_at IS NULL)", &["t.deleted_at IsNull"]),
            ("(t.deleted_at IS NOT NULL)", &["t.deleted_at IsNotNull"]),
            ("(t.active AND (t.a = $1))", &["t.active True", "t.a Equal(None)"]),
            ("(NOT t.active)", &["t.active False"]),
            ("(t.name ~~ 'abc%'::text)", &["t.name Prefix"]),
            ("(t.name ~~ '%abc'::text)", &[]),
            ("(t.name ~~ $1)", &[]),
            ("((t.a = $1) OR (t.b = $2))", &["or t.a Equal(None)", "or t.b Equal(None)"]),
            ("(ROW(t.at, t.id) < ROW($1, $2))", &["t.at Range"]),
            ("(t.at > (now() - '7 days'::interval))", &["t.at Range"]),
            ("(t.at >= '2026-01-01 00:00:00+00'::timestamp with time zone)", &["t.at Range"]),
            ("(t.\"Odd Name\" = $1)", &["t.\"Odd Name\" Equal(None)"]),
            ("(t.a <> $1)", &[]),
            ("(t.a <> 'done'::text)", &["t.a Unlike(\"'done'\")"]),
            ("((t.a = $1) AND (hashed SubPlan 1))", &["t.a Equal(None)"]),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), *expected, "{text}");
        }
    }

    #[test]
    fn sort_keys_and_extremes() {
        let key = |text: &str| sort_key(text).map(|(subject, order)| format!("{}{order}", subject.sql));
        assert_eq!(key("t.created_at DESC").as_deref(), Some("created_at DESC"));
        assert_eq!(key("t.a DESC NULLS LAST").as_deref(), Some("a DESC NULLS LAST"));
        assert_eq!(key("(lower(t.a))").as_deref(), Some("(lower(a))"));
        assert_eq!(key("(count(*)) DESC"), None);
        assert_eq!(extreme("max(t.at)").map(|subject| subject.sql).as_deref(), Some("at"));
        assert_eq!(extreme("min(at)").map(|subject| subject.alias).as_deref(), Some(""));
        assert_eq!(extreme("count(t.at)"), None);
    }

    #[test]
    fn nonsense_is_counted_and_breaks_nothing() {
        for text in ["", "(", "((a) AND (b", "(SubPlan 1)", "'", &"(".repeat(5000), &"a AND ".repeat(10_000)] {
            let read = read(text);
            assert!(read.all.is_empty(), "{text}");
        }
        assert!(read("(SubPlan 1)").unread > 0);
    }
}
