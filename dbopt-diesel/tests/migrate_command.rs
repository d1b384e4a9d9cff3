//! `dbopt migrate` on a real server and on folders as diesel's own command makes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use dbopt_diesel::dev::Cluster;
use tempfile::TempDir;
use tokio::process::Command;

/// A server, and the folder of a diesel project.
struct Project {
    cluster: Cluster,
    dir: TempDir,
}

impl Project {
    async fn new() -> Project {
        let cluster = Cluster::builder().replicas(0).redis(false).start().await.unwrap();
        let project = Project { cluster, dir: tempfile::tempdir().unwrap() };
        project.write(
            "diesel.toml",
            "[print_schema]\nfile = \"src/schema.rs\"\n\n[migrations_directory]\ndir = \"db/migrations\"\n",
        );
        project.migration("2026-01-01-000000_users", "CREATE TABLE users (id int PRIMARY KEY);", "DROP TABLE users;");
        project
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn migration(&self, name: &str, up: &str, down: &str) {
        self.write(&format!("db/migrations/{name}/up.sql"), up);
        if !down.is_empty() {
            self.write(&format!("db/migrations/{name}/down.sql"), down);
        }
    }

    async fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        dbopt(self.dir.path(), &[("DATABASE_URL", self.cluster.primary().url())], arguments).await
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let (ok, out, err) = self.run(arguments).await;
        assert!(ok, "{arguments:?}: {out}{err}");
        out
    }

    async fn refused(&self, arguments: &[&str]) -> String {
        let (ok, out, err) = self.run(arguments).await;
        assert!(!ok, "{arguments:?}: {out}{err}");
        out + &err
    }
}

async fn dbopt(dir: &Path, variables: &[(&str, String)], arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
    let own = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("DBOPT_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.envs(variables.iter().map(|(name, value)| (*name, value))).stdin(Stdio::null()).current_dir(dir);
    let Output { status, stdout, stderr } = command.arg("migrate").args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diesel_project_is_migrated_without_any_change_to_it() {
    let project = Project::new().await;
    let status = project.ok(&["status"]).await;
    assert!(status.contains("20260101000000") && status.contains("pending"), "{status}");
    assert!(project.refused(&["status", "--check"]).await.contains("1 pending"));
    let sql = project.ok(&["up", "--dry-run"]).await;
    assert!(sql.contains("CREATE TABLE users") && sql.starts_with("-- 2026-01-01-000000_users/up.sql"), "{sql}");
    assert!(project.ok(&["status"]).await.contains("pending"), "a dry run changes nothing");
    let up = project.ok(&["up"]).await;
    assert!(up.contains("2026-01-01-000000_users") && up.contains("1 migration in"), "{up}");
    assert!(project.ok(&["up"]).await.contains("everything is applied already"));
    assert!(project.ok(&["status", "--check"]).await.contains("everything is applied"));
    let lossy = project.refused(&["redo"]).await;
    assert!(lossy.contains("all rows of users") && lossy.contains("--accept-data-loss"), "{lossy}");
    project.ok(&["redo", "--accept-data-loss"]).await;
    let history = project.ok(&["history"]).await;
    assert_eq!((history.matches("applied").count(), history.matches("reverted").count()), (2, 1), "{history}");
    let json = project.ok(&["history", "--json"]).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap().as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_migration_is_judged_gets_its_way_back_and_its_receipt() {
    let project = Project::new().await;
    project.ok(&["up"]).await;
    let made = project.ok(&["new", "add_mail"]).await;
    let file = project.dir.path().join(made.trim());
    fs::write(&file, "ALTER TABLE users ADD COLUMN mail text UNIQUE;\n").unwrap();
    let lint = project.refused(&["lint"]).await;
    assert!(lint.contains("unique-column") && lint.contains("line 1") && lint.contains("instead:"), "{lint}");
    let none = project.refused(&["validate"]).await;
    assert!(none.contains("there is no way back") && none.contains("unique-column"), "{none}");
    fs::write(
        &file,
        "-- dbopt: allow(unique-column) nobody is here yet\nALTER TABLE users ADD COLUMN mail text UNIQUE;\n",
    )
    .unwrap();
    let lint = project.ok(&["lint"]).await;
    assert!(lint.contains("1 allowed by an exception"), "{lint}");
    let down = project.ok(&["generate-down"]).await;
    assert!(down.contains("down.sql") && down.contains("loses the column mail"), "{down}");
    let down = fs::read_to_string(file.with_file_name("down.sql")).unwrap();
    assert!(down.contains("ALTER TABLE public.users DROP COLUMN mail;"), "{down}");
    let validated = project.ok(&["validate"]).await;
    assert!(validated.contains("users: AccessExclusive") && validated.contains("receipt "), "{validated}");
    assert!(project.dir.path().join("dbopt-receipt.json").exists());
    project.ok(&["up"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_file_line_and_remedy() {
    let project = Project::new().await;
    let cases: [(&str, &[u8], &str); 7] = [
        ("broken", b"CREATE TABLE a (i int);\nCREATE TABEL b (i int);", "up.sql line 2"),
        ("empty", b"-- nothing yet\n", "there is no statement in it"),
        ("commit", b"SELECT 1;\nCOMMIT;", "line 2: COMMIT begins or ends a transaction"),
        ("latin", b"SELECT 1;\nSELECT '\xe4';", "line 2: it is not UTF-8"),
        ("open", b"SELECT 'a", "line 1: a string is opened here"),
        ("psql", b"\\i other.sql", "a command of psql"),
        ("index", b"CREATE INDEX CONCURRENTLY i ON users (id)", "run_in_transaction = false"),
    ];
    for (name, sql, part) in cases {
        let dir = project.dir.path().join(format!("db/migrations/2026-02-01-000000_{name}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("up.sql"), sql).unwrap();
        let refused = project.refused(&["up"]).await;
        assert!(
            refused.contains(part) && refused.contains(&format!("2026-02-01-000000_{name}/up.sql")),
            "{name}: {refused}"
        );
        fs::remove_dir_all(dir).unwrap();
    }
    project.migration("2026-01-01-000000_twice", "SELECT 1;", "");
    assert!(project.refused(&["up"]).await.contains("its version 20260101000000 is also that of"));
    fs::remove_dir_all(project.dir.path().join("db/migrations/2026-01-01-000000_twice")).unwrap();
    project.migration("2026-03-01-000000_one_way", "SELECT 1;", "");
    project.ok(&["up"]).await;
    assert!(project.refused(&["down"]).await.contains("generate-down"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_that_is_killed_at_any_moment_leaves_a_version_boundary() {
    let project = Project::new().await;
    for i in 2..8 {
        let up = format!(
            "CREATE TABLE t{i} (id int); INSERT INTO t{i} SELECT 1 FROM pg_sleep(0.05); CREATE INDEX ON t{i} (id);"
        );
        project.migration(&format!("2026-01-0{i}-000000_t{i}"), &up, &format!("DROP TABLE t{i};"));
    }
    let url = project.cluster.primary().url();
    for round in 0..12_u64 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
        command.env("DATABASE_URL", &url).args(["migrate", "up"]).current_dir(project.dir.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(40 + round * 37 % 450)).await;
        child.kill().await.unwrap();
        let primary = project.cluster.primary();
        let agree = "SELECT (SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]')::text || '=' || \
                     (SELECT count(*) FROM __diesel_schema_migrations WHERE version > '20260101000000')::text || '=' || \
                     (SELECT count(*) FROM __dbopt_schema_history WHERE outcome = 'applied' AND version > '20260101000000')::text";
        let made = "SELECT (to_regclass('__dbopt_schema_history') IS NOT NULL)::text";
        if primary.query_text(made).await.unwrap().as_deref() == Some("true") {
            let told = primary.query_text(agree).await.unwrap().unwrap();
            let parts: Vec<&str> = told.split('=').collect();
            assert!(parts.iter().all(|part| *part == parts[0]), "after round {round}: {told}");
        }
    }
    project.ok(&["up"]).await;
    assert!(project.ok(&["status", "--check"]).await.contains("everything is applied"));
}

/// What diesel's command says of each migration, and what ours says: name, and whether it is applied.
async fn agree(project: &Project, applied: usize) {
    let listed = diesel(project, &["migration", "list"]).await;
    let lines = listed.lines().filter_map(|line| line.trim().strip_prefix('[')?.split_once("] "));
    let diesel: Vec<(String, bool)> = lines.map(|(mark, name)| (name.to_owned(), mark == "X")).collect();
    let told: serde_json::Value = serde_json::from_str(&project.ok(&["status", "--json"]).await).unwrap();
    let line = |line: &serde_json::Value| (line["name"].as_str().unwrap().to_owned(), line["pending"] == false);
    let ours: Vec<_> = told["migrations"].as_array().unwrap().iter().map(line).collect();
    assert_eq!(diesel, ours, "{listed}");
    assert_eq!((ours.len(), ours.iter().filter(|(_, applied)| *applied).count()), (5, applied), "{listed}");
    assert_eq!(project.run(&["status", "--check"]).await.0, applied == 5);
}

async fn diesel(project: &Project, arguments: &[&str]) -> String {
    let mut command = Command::new("diesel");
    command.args(arguments).env("DATABASE_URL", project.cluster.primary().url()).current_dir(project.dir.path());
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().await.expect("diesel is on the PATH");
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// CONTRIBUTING.md tells how it is run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the command of diesel_cli on the PATH"]
async fn the_command_of_diesel_and_ours_agree_whoever_goes_forward_or_back() {
    let project = Project::new().await;
    fs::remove_dir_all(project.dir.path().join("db")).unwrap();
    project.write("Cargo.toml", "[package]\nname = \"plain\"\n");
    fs::create_dir_all(project.dir.path().join("db/migrations")).unwrap();
    // Makes a migration of its own, and applies it.
    diesel(&project, &["setup"]).await;
    for (day, name, up, down) in [
        (1, "users", "CREATE TABLE users (id int PRIMARY KEY);", "DROP TABLE users;"),
        (2, "posts", "CREATE TABLE posts (id int PRIMARY KEY);\nINSERT INTO posts VALUES (1);", "DROP TABLE posts;"),
        (3, "index", "CREATE INDEX CONCURRENTLY posts_id ON posts (id);", "DROP INDEX CONCURRENTLY posts_id;"),
        (4, "mail", "ALTER TABLE users ADD COLUMN mail text;", "ALTER TABLE users DROP COLUMN mail;"),
    ] {
        let version = format!("2026-01-0{day}-000000");
        diesel(&project, &["migration", "generate", name, "--version", &version]).await;
        let dir = format!("db/migrations/{version}_{name}");
        project.write(&format!("{dir}/up.sql"), up);
        project.write(&format!("{dir}/down.sql"), down);
    }
    project.write("db/migrations/2026-01-03-000000_index/metadata.toml", "run_in_transaction = false\n");
    agree(&project, 1).await;
    project.ok(&["up", "--to", "2026-01-01-000000"]).await;
    agree(&project, 2).await;
    diesel(&project, &["migration", "run"]).await;
    agree(&project, 5).await;
    project.ok(&["down", "--steps", "2", "--accept-data-loss"]).await;
    agree(&project, 3).await;
    diesel(&project, &["migration", "redo"]).await;
    agree(&project, 3).await;
    project.ok(&["up"]).await;
    agree(&project, 5).await;
    diesel(&project, &["migration", "revert", "--number", "3"]).await;
    agree(&project, 2).await;
    project.ok(&["up"]).await;
    project.ok(&["redo", "--steps", "4", "--accept-data-loss"]).await;
    agree(&project, 5).await;
    assert_eq!(diesel(&project, &["migration", "pending"]).await.trim(), "false");
    diesel(&project, &["migration", "redo", "--all"]).await;
    agree(&project, 5).await;
    diesel(&project, &["migration", "revert", "--all"]).await;
    agree(&project, 0).await;
    project.ok(&["up"]).await;
    agree(&project, 5).await;
    assert!(project.ok(&["up"]).await.contains("everything is applied already"));
}
