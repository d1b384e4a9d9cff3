//! Generated code names everything by its full path.
#![no_implicit_prelude]
#![deny(warnings)]

pub struct Flights {
    pub db: ::dbopt_diesel::Db,
}

#[::dbopt_diesel::repository]
impl Flights {
    #[read(max_staleness = "2s")]
    pub async fn find(
        &self,
        conn: &mut ::dbopt_diesel::Conn,
        id: i64,
        names: ::std::vec::Vec<::std::string::String>,
    ) -> ::diesel::QueryResult<i64> {
        let _ = (conn, names);
        ::std::result::Result::Ok(id)
    }

    #[write(idempotent, transaction = false)]
    #[critical]
    pub async fn delay(&self, conn: &::dbopt_diesel::Conn, id: i64) -> ::diesel::QueryResult<i64> {
        let _ = conn;
        ::std::result::Result::Ok(id)
    }

    #[critical]
    pub async fn cancel(&self, conn: &mut ::diesel_async::AsyncPgConnection) -> ::diesel::QueryResult<()> {
        let _ = conn;
        ::std::result::Result::Ok(())
    }
}

#[::dbopt_diesel::repository]
pub mod flights {
    #[read]
    pub async fn find(conn: &mut ::dbopt_diesel::Conn, id: i64) -> ::diesel::QueryResult<i64> {
        let _ = conn;
        ::std::result::Result::Ok(id)
    }
}
