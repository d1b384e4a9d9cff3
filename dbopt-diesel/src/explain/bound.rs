//! Values that were bound once, bound again as they are.

use std::fmt;
use std::io::Write;

use dbopt_core::backend::BoundValue;
use diesel::pg::{Pg, PgTypeMetadata};
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::serialize::{IsNull, Output, Result, ToSql};
use diesel::sql_types::HasSqlType;

/// The type of that number; of 0 the server finds out what it is.
#[derive(Debug, Clone, Copy)]
struct Oid<const NUMBER: u32>;

impl<const NUMBER: u32> HasSqlType<Oid<NUMBER>> for Pg {
    fn metadata(_: &mut Self::MetadataLookup) -> PgTypeMetadata {
        PgTypeMetadata::new(NUMBER, 0)
    }
}

struct Bytes<'a>(Option<&'a [u8]>);

impl fmt::Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a value)")
    }
}

impl<const NUMBER: u32> ToSql<Oid<NUMBER>, Pg> for Bytes<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> Result {
        match self.0 {
            Some(bytes) => {
                out.write_all(bytes)?;
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }
}

type Query<'q> = BoxedSqlQuery<'q, Pg, SqlQuery>;

/// Binds it under its own type, if that is one of PostgreSQL's usual ones.
pub(super) fn bind<'q>(query: Query<'q>, value: BoundValue<'q>) -> Query<'q> {
    let bytes = Bytes(value.bytes);
    macro_rules! of_types {
        ($($number:literal)*) => {
            match value.kind {
                $($number => query.bind::<Oid<$number>, _>(bytes),)*
                _ => query.bind::<Oid<0>, _>(bytes),
            }
        };
    }
    of_types!(16 17 20 21 23 25 26 114 700 701 869 1000 1005 1007 1009 1016 1021 1022 1042 1043 1082 1083 1114 1115 1182 1184 1185 1186 1231 1700 2950 2951 3220 3802)
}
