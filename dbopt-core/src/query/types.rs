//! The types of placeholders, by the numbers that PostgreSQL gives its own.

/// Number, PostgreSQL's name, Rust's.
const TYPES: &[(u32, &str, &str)] = &[
    (16, "bool", "bool"),
    (17, "bytea", "Vec<u8>"),
    (20, "int8", "i64"),
    (21, "int2", "i16"),
    (23, "int4", "i32"),
    (25, "text", "String"),
    (26, "oid", "u32"),
    (114, "json", "serde_json::Value"),
    (700, "float4", "f32"),
    (701, "float8", "f64"),
    (869, "inet", "IpNet"),
    (1000, "bool[]", "Vec<bool>"),
    (1005, "int2[]", "Vec<i16>"),
    (1007, "int4[]", "Vec<i32>"),
    (1009, "text[]", "Vec<String>"),
    (1016, "int8[]", "Vec<i64>"),
    (1042, "bpchar", "String"),
    (1043, "varchar", "String"),
    (1082, "date", "NaiveDate"),
    (1083, "time", "NaiveTime"),
    (1114, "timestamp", "NaiveDateTime"),
    (1184, "timestamptz", "DateTime<Utc>"),
    (1186, "interval", "PgInterval"),
    (1700, "numeric", "BigDecimal"),
    (2950, "uuid", "Uuid"),
    (2951, "uuid[]", "Vec<Uuid>"),
    (3220, "pg_lsn", "PgLsn"),
    (3802, "jsonb", "serde_json::Value"),
];

fn of(number: u32) -> Option<&'static (u32, &'static str, &'static str)> {
    TYPES.iter().find(|(known, ..)| *known == number)
}

/// PostgreSQL's name, or the number of one that is not its own.
pub(super) fn name(number: u32) -> String {
    of(number).map_or_else(|| format!("oid {number}"), |(_, name, _)| (*name).to_owned())
}

/// A type of Rust for it, or a word to be replaced.
pub(super) fn rust(number: Option<u32>) -> &'static str {
    number.and_then(of).map_or("Key", |(_, _, rust)| *rust)
}

/// The types of a PREPARE: those that are PostgreSQL's own by name, the others are found out by the server.
pub(super) fn declared(numbers: &[u32]) -> Vec<&'static str> {
    numbers.iter().map(|number| of(*number).map_or("unknown", |(_, name, _)| *name)).collect()
}
