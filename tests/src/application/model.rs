//! What is there so far.

use fastrand::Rng;

pub(super) const NOUNS: [&str; 40] = [
    "customers",
    "orders",
    "products",
    "invoices",
    "payments",
    "shipments",
    "warehouses",
    "suppliers",
    "coupons",
    "reviews",
    "tickets",
    "agents",
    "messages",
    "devices",
    "addresses",
    "countries",
    "taxes",
    "refunds",
    "categories",
    "brands",
    "images",
    "prices",
    "transfers",
    "routes",
    "drivers",
    "vehicles",
    "shifts",
    "tasks",
    "notes",
    "campaigns",
    "segments",
    "contacts",
    "leads",
    "contracts",
    "plans",
    "subscriptions",
    "limits",
    "credits",
    "branches",
    "audits",
];

pub(super) const WORDS: [&str; 24] = [
    "title",
    "state",
    "amount",
    "note",
    "created",
    "rank",
    "email",
    "phone",
    "weight",
    "height",
    "colour",
    "score",
    "code",
    "label",
    "due",
    "owner",
    "source",
    "target",
    "price",
    "region",
    "language",
    "order",
    "ÜberName",
    "is_active",
];

/// A type, a value of it, and what it may become.
pub(super) const KINDS: [(&str, &str, &str); 12] = [
    ("int", "0", "bigint"),
    ("bigint", "0", "numeric(20, 2)"),
    ("smallint", "1", "int"),
    ("text", "''", "text COLLATE \"C\""),
    ("varchar(40)", "'x'", "text"),
    ("numeric(10, 2)", "0.5", "numeric(14, 4)"),
    ("boolean", "false", "text"),
    ("timestamptz", "now()", "date"),
    ("date", "'2026-01-01'", "timestamptz"),
    ("jsonb", "'{}'", "text"),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", "text"),
    ("int[]", "'{1,2}'", "bigint[]"),
];

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: String,
    /// A value, as it is written.
    pub(super) value: String,
    /// The type it may be changed to.
    pub(super) wider: Option<&'static str>,
    pub(super) not_null: bool,
    pub(super) default: bool,
    /// Something else needs it as it is.
    pub(super) is_used: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    /// As it is written, with its schema.
    pub(super) name: String,
    /// The columns besides `id`.
    pub(super) columns: Vec<Column>,
    /// Checks that were not validated yet.
    pub(super) unchecked: Vec<String>,
    pub(super) triggers: usize,
    /// Others refer to it.
    pub(super) is_used: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tables: Vec<Table>,
    /// Name and table of views.
    pub(super) views: Vec<(String, String)>,
    /// Name, schema of indexes that stand for themselves.
    pub(super) indexes: Vec<String>,
    /// Name and values.
    pub(super) enums: Vec<(String, usize)>,
    pub(super) functions: Vec<String>,
    /// Name and number of partitions.
    pub(super) partitioned: Vec<(String, usize)>,
    made: usize,
}

impl Model {
    /// A number that nothing else has.
    pub(super) fn number(&mut self) -> usize {
        self.made += 1;
        self.made
    }

    pub(super) fn table(&self, random: &mut Rng) -> Option<usize> {
        (!self.tables.is_empty()).then(|| random.usize(..self.tables.len()))
    }

    /// A column that nothing else needs: table and column.
    pub(super) fn free_column(&self, random: &mut Rng, wanted: impl Fn(&Column) -> bool) -> Option<(usize, usize)> {
        let all = self.tables.iter().enumerate().flat_map(|(t, table)| {
            let wanted = &wanted;
            table.columns.iter().enumerate().filter(move |(_, c)| !c.is_used && wanted(c)).map(move |(c, _)| (t, c))
        });
        random.choice(all.collect::<Vec<_>>())
    }

    /// A new column, not yet in its table.
    pub(super) fn column(&mut self, random: &mut Rng) -> Column {
        let word = WORDS[random.usize(..WORDS.len())];
        let name = format!("\"{word}_{}\"", self.number());
        let (not_null, default) = (random.bool(), random.bool());
        if let Some((kind, _)) = self.enums.get(random.usize(..30)) {
            let value = "'value 0'".to_owned();
            return Column { name, kind: kind.clone(), value, wider: None, not_null, default, is_used: false };
        }
        let (kind, value, wider) = KINDS[random.usize(..KINDS.len())];
        let (kind, value) = (kind.to_owned(), value.to_owned());
        Column { name, kind, value, wider: Some(wider), not_null, default, is_used: false }
    }
}

impl Column {
    pub(super) fn definition(&self) -> String {
        let default = if self.default { format!(" DEFAULT {}", self.value) } else { String::new() };
        format!("{} {}{default}{}", self.name, self.kind, if self.not_null { " NOT NULL" } else { "" })
    }
}

/// A name without its schema and quotes, for what is called after it.
pub(super) fn bare(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).replace('"', "").to_lowercase()
}
