//! What the tests of R1 call: good and bad ways to read flights and their seats.

use dbopt_diesel::prelude::*;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

pub(crate) const SCHEMA: &str = "\
    CREATE TABLE flights (id bigint PRIMARY KEY, airport text NOT NULL, day int NOT NULL); \
    CREATE TABLE seats (id bigint PRIMARY KEY, flight_id bigint NOT NULL, label text NOT NULL); \
    INSERT INTO flights SELECT n, 'A' || n % 10, n FROM generate_series(1, 200) AS n; \
    INSERT INTO seats SELECT n, n % 200 + 1, 'seat ' || n FROM generate_series(1, 1000) AS n; ANALYZE";

diesel::table! { flights (id) { id -> BigInt, airport -> Text, day -> Integer, } }
diesel::table! { seats (id) { id -> BigInt, flight_id -> BigInt, label -> Text, } }

diesel::define_sql_function! { fn pg_advisory_xact_lock(key: BigInt) -> Text; }

diesel::allow_tables_to_appear_in_same_query!(flights, seats);

#[derive(QueryableByName)]
pub(crate) struct Label {
    #[diesel(sql_type = Text)]
    #[allow(dead_code)]
    label: String,
}

#[derive(Clone)]
pub(crate) struct Flights {
    pub(crate) db: Db,
}

#[repository]
impl Flights {
    #[read]
    pub(crate) async fn board(&self, conn: &mut Conn, airport: &str) -> QueryResult<Vec<i64>> {
        flights::table.filter(flights::airport.eq(airport)).select(flights::id).load(conn).await
    }

    #[read]
    pub(crate) async fn count(&self, conn: &mut Conn) -> QueryResult<i64> {
        flights::table.count().get_result(conn).await
    }

    #[read]
    pub(crate) async fn seats(&self, conn: &mut Conn, flight: i64) -> QueryResult<Vec<String>> {
        seats::table.filter(seats::flight_id.eq(flight)).select(seats::label).load(conn).await
    }

    #[read]
    pub(crate) async fn first_seat(&self, conn: &mut Conn, flight: i64) -> QueryResult<Option<String>> {
        seats::table.filter(seats::flight_id.eq(flight)).select(seats::label).first(conn).await.optional()
    }

    #[read]
    pub(crate) async fn seat_count(&self, conn: &mut Conn, flight: i64) -> QueryResult<i64> {
        seats::table.filter(seats::flight_id.eq(flight)).count().get_result(conn).await
    }

    #[cached(tags = ["seats:{flight}"], layers = "l1")]
    pub(crate) async fn cached_seats(&self, conn: &mut Conn, flight: i64) -> QueryResult<Vec<String>> {
        seats::table.filter(seats::flight_id.eq(flight)).select(seats::label).load(conn).await
    }

    #[read]
    pub(crate) async fn seats_of_all(&self, conn: &mut Conn, all: &[i64]) -> QueryResult<Vec<String>> {
        seats::table.filter(seats::flight_id.eq_any(all)).select(seats::label).load(conn).await
    }

    #[read]
    pub(crate) async fn page(&self, conn: &mut Conn, airport: &str, from: i64) -> QueryResult<Vec<i64>> {
        let all = flights::table.filter(flights::airport.eq(airport)).order(flights::id).select(flights::id);
        all.limit(2).offset(from).load(conn).await
    }

    #[read]
    pub(crate) async fn after(&self, conn: &mut Conn, id: i64) -> QueryResult<Vec<i64>> {
        flights::table.filter(flights::id.gt(id)).order(flights::id).select(flights::id).limit(5).load(conn).await
    }

    #[read]
    pub(crate) async fn between(&self, conn: &mut Conn, from: i32, to: i32) -> QueryResult<i64> {
        flights::table.filter(flights::day.ge(from)).filter(flights::day.lt(to)).count().get_result(conn).await
    }

    #[read]
    pub(crate) async fn written_in(&self, conn: &mut Conn, flight: i64) -> QueryResult<Vec<Label>> {
        diesel::sql_query(format!("SELECT label FROM seats WHERE flight_id = {flight}")).load(conn).await
    }

    #[read]
    pub(crate) async fn page_written_in(&self, conn: &mut Conn, from: i64) -> QueryResult<Vec<Label>> {
        diesel::sql_query(format!("SELECT label FROM seats ORDER BY id LIMIT 3 OFFSET {from}")).load(conn).await
    }

    #[read]
    pub(crate) async fn loop_inside(&self, conn: &mut Conn, all: &[i64]) -> QueryResult<usize> {
        let mut found = 0;
        for flight in all {
            found +=
                seats::table.filter(seats::flight_id.eq(flight)).select(seats::label).load::<String>(conn).await?.len();
        }
        Ok(found)
    }

    #[read]
    pub(crate) async fn pipelined(&self, conn: &Conn, all: &[i64]) -> QueryResult<()> {
        let each = all.iter().map(|flight| async move {
            let mut conn: &diesel_async::AsyncPgConnection = conn;
            seats::table.filter(seats::flight_id.eq(flight)).count().get_result::<i64>(&mut conn).await
        });
        futures_util::future::try_join_all(each).await.map(drop)
    }

    #[read]
    pub(crate) async fn summary(&self, conn: &Conn) -> QueryResult<()> {
        let (mut a, mut b, mut c) = (&**conn, &**conn, &**conn);
        let (mut d, mut e, mut f) = (&**conn, &**conn, &**conn);
        tokio::try_join!(
            flights::table.count().get_result::<i64>(&mut a),
            seats::table.count().get_result::<i64>(&mut b),
            flights::table.select(diesel::dsl::max(flights::id)).get_result::<Option<i64>>(&mut c),
            flights::table.select(diesel::dsl::min(flights::id)).get_result::<Option<i64>>(&mut d),
            seats::table.select(diesel::dsl::max(seats::id)).get_result::<Option<i64>>(&mut e),
            seats::table.select(diesel::dsl::min(seats::id)).get_result::<Option<i64>>(&mut f),
        )
        .map(drop)
    }

    #[read]
    pub(crate) async fn slow(&self, conn: &mut Conn, airport: &str, seconds: f64) -> QueryResult<i64> {
        let sql =
            "SELECT count(*) AS n FROM (SELECT pg_sleep($1)) AS s, flights WHERE airport = $2 -- Sentinel2Comment";
        let counted = diesel::sql_query(sql).bind::<diesel::sql_types::Double, _>(seconds).bind::<Text, _>(airport);
        counted.get_result::<Counted>(conn).await.map(|counted| counted.n)
    }

    #[read]
    pub(crate) async fn skewed(&self, conn: &mut Conn, kind: &str) -> QueryResult<usize> {
        let sql = "SELECT label FROM skewed WHERE kind = $1";
        diesel::sql_query(sql).bind::<Text, _>(kind).load::<Label>(conn).await.map(|labels| labels.len())
    }

    #[read]
    pub(crate) async fn seats_joined(&self, conn: &mut Conn, id: i64) -> QueryResult<usize> {
        let found = flights::table.inner_join(seats::table.on(seats::flight_id.eq(flights::id)));
        found.filter(flights::id.eq(id)).select(seats::label).load::<String>(conn).await.map(|labels| labels.len())
    }

    #[read]
    pub(crate) async fn run(&self, conn: &mut Conn, sql: &str) -> QueryResult<usize> {
        diesel::sql_query(sql).execute(conn).await
    }

    #[read]
    pub(crate) async fn script(&self, conn: &mut Conn, sql: &str) -> QueryResult<()> {
        diesel_async::SimpleAsyncConnection::batch_execute(conn, sql).await
    }

    #[write]
    pub(crate) async fn add(&self, conn: &mut Conn, id: i64, label: &str) -> QueryResult<usize> {
        let row = (seats::id.eq(id), seats::flight_id.eq(1), seats::label.eq(label));
        diesel::insert_into(seats::table).values(row).execute(conn).await
    }

    #[write]
    pub(crate) async fn add_all(&self, conn: &mut Conn, ids: &[i64]) -> QueryResult<usize> {
        let rows: Vec<_> =
            ids.iter().map(|id| (seats::id.eq(id), seats::flight_id.eq(1), seats::label.eq("x"))).collect();
        diesel::insert_into(seats::table).values(rows).execute(conn).await
    }

    #[write]
    pub(crate) async fn rename(&self, conn: &mut Conn, id: i64, label: &str) -> QueryResult<usize> {
        diesel::update(seats::table.find(id)).set(seats::label.eq(label)).execute(conn).await
    }

    #[write]
    pub(crate) async fn remove(&self, conn: &mut Conn, id: i64) -> QueryResult<usize> {
        diesel::delete(seats::table.find(id)).execute(conn).await
    }

    #[write]
    pub(crate) async fn lock(&self, conn: &mut Conn, id: i64) -> QueryResult<usize> {
        diesel::select(pg_advisory_xact_lock(id)).execute(conn).await
    }
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    n: i64,
}
