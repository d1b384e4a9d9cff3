//! A server on this machine, reached by PostgreSQL's own programs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::future::Future;
use std::io::{Read, Seek};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use dbopt_core::failover::Place;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::agent::{AgentError, NodeAgent, Rejoin, Way};
use super::rejoin::{Hands, bring_back};

/// How long a question to a server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How a server on this machine is reached.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name among `[[database.nodes]]`.
    pub node: String,
    /// Its data directory.
    pub data: PathBuf,
    /// The folder of `pg_ctl`, `pg_rewind`, `pg_basebackup` and `psql`; `None`: that of the data's version in Debian's packages, or `$PATH`.
    pub programs: Option<PathBuf>,
    /// What every program is started through, such as `runuser -u postgres --`: PostgreSQL's refuse to run as root.
    pub through: Vec<String>,
    /// How it is started, by a shell; `None`: `pg_ctl start`. It has to return once connections are accepted.
    pub start: Option<String>,
    /// How it is stopped, by a shell; `None`: `pg_ctl stop -m fast`.
    pub stop: Option<String>,
    /// How the primary is asked, copied and rewound from, as libpq has it and without its host: a superuser, or a role with the rights that
    /// `pg_rewind` needs. Its password is in `~/.pgpass` or `$PGPASSWORD`.
    pub source: String,
    /// The most that a copy takes from the primary in a second, as `pg_basebackup --max-rate` has it.
    pub max_rate: Option<String>,
}

impl Machine {
    /// With everything as PostgreSQL's programs have it, and copies of 100 MB/s at most.
    pub fn new(node: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Machine {
            node: node.into(),
            data: data.into(),
            programs: None,
            through: Vec::new(),
            start: None,
            stop: None,
            source: "user=postgres dbname=postgres".to_owned(),
            max_rate: Some("100M".to_owned()),
        }
    }

    /// What stands in its way: programs that are missing, a folder that is not its own.
    pub async fn check(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["pg_ctl", "pg_rewind", "pg_basebackup", "psql"] {
            if let Err(error) = self.run(name, ["--version"]).await {
                found.push(format!("{error}: install PostgreSQL's server and client programs, or name their folder"));
            }
        }
        match std::fs::metadata(&self.data) {
            Ok(_) if !self.data.join("PG_VERSION").exists() => {
                found.push(format!("{} is there and holds no server's data", self.data.display()));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                found.push(format!("{}: {error}: run as the user that the server runs as", self.data.display()));
            }
            _ => {}
        }
        found
    }

    fn program(&self, name: &str) -> PathBuf {
        let version = std::fs::read_to_string(self.data.join("PG_VERSION")).unwrap_or_default();
        let packaged = Path::new("/usr/lib/postgresql").join(version.trim()).join("bin");
        let folder = self.programs.as_ref().or(Some(&packaged)).filter(|folder| folder.join(name).exists());
        folder.map_or_else(|| name.into(), |folder| folder.join(name))
    }

    /// Runs one of PostgreSQL's programs to its end; gives what it said.
    async fn run<A: Into<OsString>>(
        &self,
        name: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String, AgentError> {
        self.begin(name, self.program(name), args.into_iter().map(Into::into).collect()).await
    }

    /// A command of the operator's.
    async fn shell(&self, command: &str) -> Result<(), AgentError> {
        self.begin(command, "sh".into(), vec!["-c".into(), command.into()]).await.map(drop)
    }

    async fn begin(&self, name: &str, program: PathBuf, args: Vec<OsString>) -> Result<String, AgentError> {
        let failed = |error: std::io::Error| format!("{name}: {error}");
        // Files, no pipes: a server that it starts goes on holding them.
        let [mut out, mut err] = [tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?];
        let mut words = self.through.iter().map(OsString::from).chain([program.into_os_string()]).chain(args);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null()).current_dir("/").env("PGCONNECT_TIMEOUT", "5");
        command.stdout(out.try_clone().map_err(failed)?).stderr(err.try_clone().map_err(failed)?);
        let status = command.kill_on_drop(true).status().await.map_err(failed)?;
        let read = |file: &mut File| {
            let mut text = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut text)).map_err(failed)?;
            Ok::<String, String>(text.trim().to_owned())
        };
        if status.success() {
            return Ok(read(&mut out)?);
        }
        let told = read(&mut err)?;
        let mut last: Vec<&str> = told.lines().rev().take(4).collect();
        last.reverse();
        Err(format!("{name}: {} ({status})", last.join("; ")).into())
    }

    async fn ask(&self, conninfo: &str, sql: &str) -> Result<String, AgentError> {
        let asked = self.run("psql", ["-XAtq", "-d", conninfo, "-c", sql]);
        timeout(ANSWER, asked).await.map_err(|_| "psql: no answer within 10 s")?
    }

    /// How this machine's server is asked, by what it wrote when it started; `None` while it is down.
    fn local(&self) -> Option<String> {
        let lines = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = lines.lines().map(str::trim).collect();
        let (port, socket, address) = (lines.get(3)?, lines.get(4)?, lines.get(5).copied().unwrap_or_default());
        let host = match (*socket, address) {
            ("", "" | "*" | "0.0.0.0" | "::") => "localhost",
            ("", address) => address,
            (socket, _) => socket,
        };
        Some(format!("{} host={} port={port}", self.source, quoted(host)))
    }
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What is done for one order.
struct AtWork<'a> {
    machine: &'a Machine,
    leader: &'a Place,
}

impl AtWork<'_> {
    /// How the primary is asked.
    fn source(&self) -> String {
        format!("{} host={} port={}", self.machine.source, quoted(&self.leader.host), self.leader.port)
    }

    async fn pg_ctl_stop(&self, mode: &str) -> Result<(), AgentError> {
        let data = self.machine.data.as_os_str();
        self.machine
            .run("pg_ctl", ["stop", "-w", "-m", mode, "-D"].map(OsStr::new).into_iter().chain([data]))
            .await
            .map(drop)
    }

    async fn answers(&self) -> bool {
        match self.machine.local() {
            Some(local) => self.machine.ask(&local, "SELECT 1").await.is_ok(),
            None => false,
        }
    }
}

impl Hands for AtWork<'_> {
    fn data(&self) -> PathBuf {
        self.machine.data.clone()
    }

    async fn is_promoted(&self) -> bool {
        let Some(local) = self.machine.local() else { return false };
        // One that does not accept connections yet is no primary.
        matches!(self.machine.ask(&local, "SELECT pg_is_in_recovery()").await.as_deref(), Ok("f"))
    }

    async fn leads(&self) -> Result<bool, AgentError> {
        Ok(self.machine.ask(&self.source(), "SELECT pg_is_in_recovery()").await? == "f")
    }

    async fn stop(&self) -> Result<(), AgentError> {
        if !self.machine.data.join("postmaster.pid").exists() {
            return Ok(());
        }
        let stopped = match &self.machine.stop {
            Some(command) => self.machine.shell(command).await,
            None => self.pg_ctl_stop("fast").await,
        };
        match stopped {
            // The file of a server that was killed is no server.
            Err(_) if self.pg_ctl_stop("immediate").await.is_ok() || !self.answers().await => Ok(()),
            other => other,
        }
    }

    async fn start(&self) -> Result<(), AgentError> {
        match &self.machine.start {
            Some(command) => self.machine.shell(command).await,
            None => {
                let log = self.machine.data.with_extension("log");
                let args = ["start", "-w", "-s", "-t", "3600", "-l"].map(OsStr::new);
                let files = [log.as_os_str(), "-D".as_ref(), self.machine.data.as_os_str()];
                self.machine.run("pg_ctl", args.into_iter().chain(files)).await.map(drop)
            }
        }
    }

    async fn streams(&self, patience: Duration) -> Result<(), AgentError> {
        let sql = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN 'primary' \
                   ELSE coalesce((SELECT status FROM pg_stat_wal_receiver), 'no receiver') END";
        let give_up = Instant::now() + patience;
        loop {
            let local = self.machine.local().ok_or("the server is down again; its log tells why")?;
            match self.machine.ask(&local, sql).await {
                Ok(status) if status == "streaming" => return Ok(()),
                Ok(status) if status == "primary" => return Err("it is a primary, no replica".into()),
                other if Instant::now() >= give_up => {
                    return Err(format!("it does not stream: {}", other?).into());
                }
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn checkpoint(&self) -> Result<(), AgentError> {
        self.machine.run("psql", ["-XAtq", "-d", &self.source(), "-c", "CHECKPOINT"]).await.map(drop)
    }

    async fn rewind(&self) -> Result<(), AgentError> {
        let source = format!("--source-server={}", self.source());
        let args = [source.as_ref(), "--target-pgdata".as_ref(), self.machine.data.as_os_str()];
        self.machine.run("pg_rewind", args).await.map(drop)
    }

    async fn copy(&self, to: &Path) -> Result<(), AgentError> {
        let source = format!("--dbname={}", self.source());
        let rate = self.machine.max_rate.as_ref().map(|rate| format!("--max-rate={rate}"));
        let args = ["--no-password", "--checkpoint=fast", "--wal-method=stream", source.as_str()];
        let args = args.into_iter().chain(rate.as_deref()).chain(["-D"]).map(OsStr::new);
        self.machine.run("pg_basebackup", args.chain([to.as_os_str()])).await.map(drop)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), AgentError> {
        let doing = |error: std::io::Error| format!("write {}: {error}", path.display());
        std::fs::write(path, text).map_err(doing)?;
        let folder = std::fs::metadata(&self.machine.data).map_err(doing)?;
        let file = std::fs::metadata(path).map_err(doing)?;
        if (file.uid(), file.gid()) != (folder.uid(), folder.gid()) {
            chown(path, Some(folder.uid()), Some(folder.gid())).map_err(doing)?;
        }
        Ok(())
    }
}

impl NodeAgent for Machine {
    fn reaches(&self, node: &str) -> bool {
        self.node == node
    }

    fn rejoin(&self, order: Rejoin) -> Pin<Box<dyn Future<Output = Result<Way, AgentError>> + Send + '_>> {
        Box::pin(async move { bring_back(&AtWork { machine: self, leader: &order.leader }, &order).await })
    }
}
