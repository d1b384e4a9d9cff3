//! The processes: each ends with us, however we end.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Url;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Runs a program, and asks it to end as soon as standard input does: the kernel closes that when its owner is gone.
const LEASH: &str =
    r#""$@" </dev/null & child=$!; exec 3<&0; { cat <&3 >/dev/null; kill "$child" 2>/dev/null; } & wait "$child""#;

/// How long a program gets to end.
const FAREWELL: Duration = Duration::from_secs(15);

/// The demo, Prometheus and Alertmanager, with addresses that were free.
pub(crate) struct Stack {
    pub(crate) prometheus: Url,
    pub(crate) alertmanager: Url,
    pub(crate) admin: Url,
    // Before the folder, which they write to.
    programs: Vec<Program>,
    folder: TempDir,
}

struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Stack {
    /// Starts all three; `receiver` is told of alerts.
    pub(crate) fn start(files: &Path, receiver: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [admin, prometheus, alertmanager] = [free_port()?, free_port()?, free_port()?].map(local);
        for file in ["prometheus.yml", "rules.yml", "alertmanager.yml"] {
            let path = files.join(file);
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let text = text.replace("127.0.0.1:9090", &admin).replace("127.0.0.1:9093", &alertmanager);
            std::fs::write(folder.path().join(file), text.replace("127.0.0.1:9099", &receiver.to_string()))?;
        }
        let demo = std::env::current_exe()?.with_file_name("demo");
        if !demo.is_file() {
            bail!("{} is not built: `cargo xtask monitor` builds it", demo.display());
        }
        let mut stack = Stack {
            prometheus: format!("http://{prometheus}/").parse()?,
            alertmanager: format!("http://{alertmanager}/").parse()?,
            admin: format!("http://{admin}/").parse()?,
            programs: Vec::new(),
            folder,
        };
        let (data, silences) = (stack.path("prometheus"), stack.path("alertmanager"));
        // For as long as we want: some years.
        stack.run("demo", &demo, &["--seconds", "100000000", "--users", "16", "--admin-listen", &admin])?;
        let listen = [format!("--web.listen-address={prometheus}"), format!("--web.listen-address={alertmanager}")];
        let config = ["prometheus.yml", "alertmanager.yml"].map(|file| format!("--config.file={}", stack.path(file)));
        let storage = [format!("--storage.tsdb.path={data}"), format!("--storage.path={silences}")];
        stack.run("prometheus", Path::new("prometheus"), &[&config[0], &listen[0], &storage[0]])?;
        let alone = "--cluster.listen-address=";
        let program = Path::new("prometheus-alertmanager");
        stack.run("alertmanager", program, &[&config[1], &listen[1], &storage[1], alone])?;
        Ok(stack)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&mut self, name: &'static str, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let log = self.folder.path().join(format!("{name}.log"));
        let output = File::create(&log)?;
        let mut command = Command::new("sh");
        command.args(["-c", LEASH, "leash"]).arg(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
        // Ctrl-C is meant for us; they end when their input does.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        self.programs.push(Program { name, child, log });
        Ok(())
    }

    /// # Errors
    /// When one of them has ended, with what it said last.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        for program in &mut self.programs {
            if let Some(status) = program.child.try_wait()? {
                bail!("{} ended ({status}):\n{}", program.name, last_lines(&program.log, 15));
            }
        }
        Ok(())
    }

    /// What the demo is doing.
    pub(crate) fn progress(&self) -> String {
        let line = self.programs.first().map(|demo| last_lines(&demo.log, 1)).unwrap_or_default();
        if line.is_empty() { "starting".to_owned() } else { line.trim().to_owned() }
    }

    pub(crate) fn addresses(&self) -> String {
        let Stack { prometheus, alertmanager, admin, .. } = self;
        format!(
            "  application   {admin}metrics and {admin}metrics/json\n  Prometheus    {prometheus}graph, {prometheus}alerts and \
             {prometheus}targets\n  Alertmanager  {alertmanager}\n  Grafana       import examples/monitoring/grafana/*.json, with \
             {prometheus} as data source\n  logs          {}\nAlerts are printed as they are told. Until Ctrl-C.\n",
            self.folder.path().display()
        )
    }

    /// Asks all to end, and waits for that.
    pub(crate) async fn stop(mut self) {
        let deadline = Instant::now() + FAREWELL;
        for program in &mut self.programs {
            drop(program.child.stdin.take());
        }
        for program in &mut self.programs {
            while matches!(program.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Drop for Stack {
    /// The end of their input is what ends them; their folder goes when they have gone, or it would be written to again.
    fn drop(&mut self) {
        for program in &mut self.programs {
            drop(program.child.stdin.take());
        }
        for program in &mut self.programs {
            let _ = program.child.wait();
        }
    }
}

fn last_lines(file: &Path, count: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
