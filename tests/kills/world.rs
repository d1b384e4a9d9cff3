//! The server, its databases, and what is in one of them.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use dbopt_diesel::dev::Cluster;
use dbopt_tests::migrations::Folder;
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

/// A database as it is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What diesel's table says.
    pub(super) versions: BTreeSet<String>,
    /// Version, direction and outcome of each entry of the history.
    pub(super) history: Vec<[String; 3]>,
    /// Objects and rows, one line each; none of an index that is not valid.
    pub(super) content: BTreeSet<String>,
    /// Indexes that are not valid.
    pub(super) invalid: Vec<String>,
}

/// What a schema is made of; the tables of migrations are no part of it.
const OBJECTS: &str = "
    WITH own AS (SELECT c.* FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relname !~ '^__(diesel|dbopt)'
                 AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND (NOT i.indisvalid
                     OR (SELECT relname FROM pg_class t WHERE t.oid = i.indrelid) ~ '^__(diesel|dbopt)')))
    SELECT format('%s %s %s', relkind, relname, obj_description(oid, 'pg_class')) FROM own WHERE relname !~ '_id_seq$'
    UNION SELECT format('%s.%s %s %s', c.relname, attname, format_type(atttypid, atttypmod), attnotnull)
          FROM pg_attribute a JOIN own c ON c.oid = attrelid WHERE attnum > 0 AND NOT attisdropped
    UNION SELECT format('%s: %s', conname, pg_get_constraintdef(k.oid)) FROM pg_constraint k JOIN own c ON c.oid = conrelid
    UNION SELECT pg_get_indexdef(oid) FROM own WHERE relkind = 'i'
    UNION SELECT format('%s: %s', relname, pg_get_viewdef(oid)) FROM own WHERE relkind IN ('v', 'm')
    UNION SELECT format('%s: %s', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE NOT tgisinternal
    UNION SELECT format('%s %s', enumtypid::regtype, enumlabel) FROM pg_enum";

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) folder: Folder,
    made: usize,
}

impl World {
    pub(super) async fn new() -> Result<World> {
        let cluster = Cluster::builder().replicas(0).redis(false).start().await?;
        Ok(World { cluster, folder: super::folder::folder(), made: 0 })
    }

    /// A new database, empty or as another one is.
    pub(super) async fn database(&mut self, like: Option<&str>) -> Result<String> {
        self.made += 1;
        let name = format!("world_{}", self.made);
        match like {
            Some(like) => self.cluster.create_database_from(&name, like).await?,
            None => self.cluster.create_database(&name).await?,
        }
        Ok(name)
    }

    /// A migrator in a process of its own.
    pub(super) fn start(&self, database: &str, back: bool) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--url", &self.cluster.primary().url_for(database), "--folder"]).arg(self.folder.path());
        if back {
            command.arg("--back");
        }
        Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?)
    }

    /// Lets a migrator go on to its end.
    pub(super) async fn finish(&self, database: &str, back: bool) -> Result<()> {
        let ended = self.start(database, back)?.wait_with_output();
        let ended = tokio::time::timeout(Duration::from_secs(90), ended).await.context("a migrator has no end")??;
        anyhow::ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        Ok(())
    }

    pub(super) async fn look(&self, database: &str) -> Result<Found> {
        let (client, connection) = tokio_postgres::connect(&self.cluster.primary().url_for(database), NoTls).await?;
        let driver = tokio::spawn(connection);
        quiet(&client).await?;
        let mut found = Found::default();
        let made =
            texts(&client, "SELECT relname::text FROM pg_class WHERE relname = '__dbopt_schema_history'").await?;
        if !made.is_empty() {
            found.versions =
                texts(&client, "SELECT version::text FROM __diesel_schema_migrations").await?.into_iter().collect();
            let sql = "SELECT version, direction, outcome FROM __dbopt_schema_history ORDER BY id";
            let rows = client.query(sql, &[]).await?;
            found.history = rows.iter().map(|row| [row.get(0), row.get(1), row.get(2)]).collect();
        }
        found.content = texts(&client, OBJECTS).await?.into_iter().collect();
        let tables = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'm') AND relnamespace = 'public'::regnamespace AND relname !~ '^__'";
        for table in texts(&client, tables).await? {
            let sql = format!(
                "SELECT '{table}: ' || md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} AS t HAVING count(*) > 0"
            );
            found.content.extend(texts(&client, &sql).await?);
        }
        found.invalid = texts(&client, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid").await?;
        drop(client);
        driver.await??;
        Ok(found)
    }
}

/// Waits until no migrator is connected to this database: what it sent last may still run.
async fn quiet(client: &Client) -> Result<()> {
    let sql = "SELECT pid::text FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
               AND backend_type = 'client backend'";
    let gone = async {
        while !texts(client, sql).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .context("the server still works for a migrator that is dead")?
}

async fn texts(client: &Client, sql: &str) -> Result<Vec<String>> {
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}
