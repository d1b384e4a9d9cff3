//! Folders of migrations for tests.

use std::fs;
use std::path::Path;

use dbopt_diesel::Config;
use dbopt_diesel::dev::{Cluster, Node};
use dbopt_diesel::migrate::{Forward, Migrations, Migrator};
use tempfile::TempDir;

/// A folder of migrations that ends with the test.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        Folder { dir: tempfile::tempdir().expect("a folder") }
    }

    /// One with these migrations: name, up, down (none if it is empty).
    pub fn of(migrations: &[(&str, &str, &str)]) -> Folder {
        let folder = Folder::new();
        for (name, up, down) in migrations {
            folder.add(name, up, down);
        }
        folder
    }

    /// Adds a migration, or writes it anew.
    pub fn add(&self, name: &str, up: &str, down: &str) {
        let dir = self.path().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join("up.sql"), up).expect("a file");
        if !down.is_empty() {
            fs::write(dir.join("down.sql"), down).expect("a file");
        }
    }

    /// Adds one that runs outside of a transaction.
    pub fn add_alone(&self, name: &str, up: &str, down: &str) {
        self.add(name, up, down);
        fs::write(self.path().join(name).join("metadata.toml"), "run_in_transaction = false\n").expect("a file");
    }

    /// Removes one.
    pub fn remove(&self, name: &str) {
        fs::remove_dir_all(self.path().join(name)).expect("it was there");
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its migrations, read.
    pub fn read(&self) -> Migrations {
        Migrations::from_folder(self.path()).expect("they can be run")
    }

    /// A migrator for `config`.
    pub fn migrator(&self, config: &Config) -> Migrator {
        Migrator::new(config, self.read()).expect("the settings are valid")
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

/// A cluster of one server, and settings for it that do not wait long.
pub async fn server() -> (Cluster, Config) {
    let cluster = Cluster::builder().replicas(0).redis(false).start().await.expect("the local cluster starts");
    let config = crate::config(&cluster);
    (cluster, config)
}

/// The first value of a query on the primary; empty for none.
pub async fn value(cluster: &Cluster, sql: &str) -> String {
    cluster.primary().query_text(sql).await.expect("it is answered").unwrap_or_default()
}

/// Two small ones.
pub fn two() -> Folder {
    Folder::of(&[
        ("2026-01-01-000000_a", "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);", "DROP TABLE a;"),
        ("2026-01-02-000000_b", "CREATE TABLE b (id int);", "DROP TABLE b;"),
    ])
}

/// A server that has these two.
pub async fn migrated() -> (Cluster, Config, Folder) {
    let (cluster, config) = server().await;
    let folder = two();
    folder.migrator(&config).up(&Forward::default()).await.expect("they can be applied");
    (cluster, config, folder)
}

/// The tables that are there, those of migrations left out.
pub async fn tables(node: &Node) -> String {
    let sql = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace \
               AND relname NOT LIKE '\\_\\_%'";
    node.query_text(sql).await.expect("it is answered").unwrap_or_default()
}

/// The versions that are applied.
pub async fn versions(node: &Node) -> String {
    let sql = "SELECT string_agg(version, ',' ORDER BY version) FROM __diesel_schema_migrations";
    node.query_text(sql).await.expect("it is answered").unwrap_or_default()
}
