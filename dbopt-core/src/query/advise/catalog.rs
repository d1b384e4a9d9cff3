//! What advice must know of a database: tables with their columns, indexes and foreign keys, as the catalog and the statistics tell it.

use serde::Deserialize;

/// A database as far as indexes are concerned.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Catalog {
    /// Tables of users.
    pub tables: Vec<Table>,
    /// Foreign keys between them.
    pub foreign_keys: Vec<ForeignKey>,
    /// For how long the server has counted what is done to tables and indexes, in seconds.
    pub counted_seconds: f64,
    /// How many standbys follow this server; what is read there is counted there.
    pub standbys: u32,
    /// Whether texts are sorted by their bytes, so that a plain index serves `LIKE 'a%'`.
    pub sorts_bytes: bool,
}

/// A table.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Rows, as the planner believes.
    pub rows: f64,
    /// Pages of 8 kB.
    pub pages: f64,
    /// Whether it is a partition, or has some: an index belongs to all of them.
    pub partitioned: bool,
    /// Rows that were inserted.
    pub inserted: f64,
    /// Rows that were updated.
    pub updated: f64,
    /// Rows that were deleted.
    pub deleted: f64,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its indexes.
    pub indexes: Vec<Index>,
}

/// A column, with what ANALYZE found out.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, such as `character varying`.
    pub kind: String,
    /// Different values: a number, or a share of the rows if negative; 0 if not known.
    pub distinct: f64,
    /// The part of the rows without a value.
    pub nulls: f64,
    /// Bytes on average.
    pub width: f64,
    /// Its collation if it is not the database's; `C` and `POSIX` sort by bytes.
    pub collation: Option<String>,
}

/// An index that is there.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// `btree`, `gin`, ..
    pub method: String,
    /// What it sorts by.
    pub keys: Vec<IndexKey>,
    /// The rows it holds, if not all.
    pub predicate: Option<String>,
    /// Whether it keeps values unique.
    pub unique: bool,
    /// Whether it belongs to a constraint, or identifies rows for replication.
    pub constraint: bool,
    /// Whether it can be used.
    pub valid: bool,
    /// Whether it is being built right now.
    pub building: bool,
    /// How often it was used.
    pub scans: f64,
    /// Bytes.
    pub bytes: f64,
}

/// A column or expression of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct IndexKey {
    /// As the server writes it.
    pub sql: String,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Its operator class, if not the type's own.
    pub class: Option<String>,
}

/// A foreign key.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// Schema and name of the table that refers.
    pub table: (String, String),
    /// Its columns.
    pub columns: Vec<String>,
    /// Schema and name of the table that is referred to.
    pub parent: (String, String),
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.schema == schema && table.name == name)
    }
}

/// Below so many pages a table is read from one end to the other in no time: 1 MB.
const SMALL: f64 = 128.0;

impl Table {
    /// Whether it is so small that no index pays.
    pub fn is_small(&self) -> bool {
        self.pages < SMALL
    }

    /// New entries of an index per second: each insert and each update may need one.
    pub fn writes_per_second(&self, counted_seconds: f64) -> f64 {
        if counted_seconds <= 0.0 { 0.0 } else { (self.inserted + self.updated) / counted_seconds }
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl Column {
    /// How many different values it has, among `rows`.
    pub(super) fn values(&self, rows: f64) -> f64 {
        match self.distinct {
            0.0 => 200.0_f64.min(rows),
            share if share < 0.0 => -share * rows,
            number => number,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind.as_str(), "text" | "character varying" | "character" | "name")
    }

    pub(super) fn sorts_bytes(&self, database: bool) -> bool {
        self.collation.as_deref().map_or(database, |collation| matches!(collation, "C" | "POSIX"))
    }
}
