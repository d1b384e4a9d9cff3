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

#[derive(::std::clone::Clone, ::serde::Serialize, ::serde::Deserialize)]
pub struct Flight {
    pub id: i64,
}

#[::dbopt_diesel::repository]
impl Flights {
    #[cached(tags = ["flight:{id}", "flights"], ttl = "5m", refresh_ahead = 0.8)]
    pub async fn cached(&self, conn: &mut ::dbopt_diesel::Conn, id: i64) -> ::diesel::QueryResult<Flight> {
        let _ = conn;
        ::std::result::Result::Ok(Flight { id })
    }

    #[cached(key = "flight:{id}", tags = ["flights"], layers = "l1")]
    pub async fn keyed(&self, conn: &mut ::dbopt_diesel::Conn, id: &str) -> ::diesel::QueryResult<Flight> {
        let _ = (conn, id);
        ::std::result::Result::Ok(Flight { id: 1 })
    }

    #[write(invalidates = ["flights", "flight:{ret.id}:{id}"], write_through = cached(ret.id))]
    pub async fn store(&self, conn: &mut ::dbopt_diesel::Conn, id: i64) -> ::diesel::QueryResult<Flight> {
        let _ = conn;
        ::std::result::Result::Ok(Flight { id })
    }

    #[write(write_through = keyed(&name))]
    pub async fn rename(
        &self,
        conn: &mut ::dbopt_diesel::Conn,
        name: ::std::string::String,
    ) -> ::diesel::QueryResult<Flight> {
        let _ = (conn, name);
        ::std::result::Result::Ok(Flight { id: 1 })
    }
}
