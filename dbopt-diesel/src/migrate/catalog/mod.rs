//! Reads the catalog of a database: a query for each kind of object, each row one object as JSON.

mod columns;
mod other;
mod parts;
mod relations;
mod routines;
mod schemas;
mod types;

use dbopt_core::schema::catalog::{Catalog, Object};
use tokio_postgres::{Client, Statement};

use super::error::{Doing, Error};

/// What every query sees as `{user}`: a schema that is nobody's but the user's.
const USER: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// The queries, prepared on a session: planning them takes longer than running them.
pub(super) struct Reader(Vec<Statement>);

impl Reader {
    pub(super) async fn prepare(client: &Client) -> Result<Reader, Error> {
        let all = [
            schemas::queries(),
            types::queries(),
            relations::queries(),
            columns::queries(),
            routines::queries(),
            parts::queries(),
            other::queries(),
        ];
        client.batch_execute(&format!("BEGIN; {QUALIFIED}")).await.doing("read the catalog")?;
        let mut statements = Vec::new();
        for query in all.into_iter().flatten() {
            let sql = format!("SELECT x::text FROM ({}) AS q (x)", query.replace("{user}", USER));
            statements.push(client.prepare(&sql).await.doing("read the catalog")?);
        }
        client.batch_execute("ROLLBACK").await.doing("read the catalog")?;
        Ok(Reader(statements))
    }

    /// Reads everything, in one snapshot. Opens a transaction of its own.
    pub(super) async fn read(&self, client: &Client) -> Result<Catalog, Error> {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.doing("read the catalog")?;
        let catalog = self.read_inside(client).await;
        client.batch_execute("ROLLBACK").await.doing("read the catalog")?;
        catalog
    }

    /// The same in the transaction that is open.
    pub(super) async fn read_inside(&self, client: &Client) -> Result<Catalog, Error> {
        client.batch_execute(QUALIFIED).await.doing("read the catalog")?;
        let mut objects = Vec::new();
        for statement in &self.0 {
            for row in client.query(statement, &[]).await.doing("read the catalog")? {
                let text: String = row.get(0);
                let object: Object = serde_json::from_str(&text).map_err(|error| {
                    Error::Unknown(format!("the catalog has a row that is not understood: {error}: {text}"))
                })?;
                objects.push(object);
            }
        }
        Ok(objects.into_iter().collect())
    }
}

/// Names come out with their schema then.
const QUALIFIED: &str = "SET LOCAL search_path = pg_catalog";

/// The rights on an object, also those that are there by themselves: a line for each.
fn grants(acl: &str, kind: &str, owner: &str) -> String {
    format!(
        "(SELECT string_agg(format('%s|%s|%s', a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE \
         quote_ident(pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN 't' ELSE 'f' END), E'\\n' \
         ORDER BY a.privilege_type, a.grantee) FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) AS a)"
    )
}

fn owner(column: &str) -> String {
    format!("quote_ident(pg_get_userbyid({column}))")
}

/// What an extension has made is the extension's.
fn not_of_extension(class: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend AS e WHERE e.classid = '{class}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
    )
}

/// Tables of the history, and copies of what was lost, are no part of a schema.
fn not_ours(name: &str) -> String {
    format!("{name} <> '__diesel_schema_migrations' AND {name} NOT LIKE '\\_\\_dbopt\\_%'")
}
