//! The cluster's Redis (or Valkey).

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::error::DevError;
use super::node::{START_PATIENCE, Shared};
use super::ports;
use super::process::Program;
use super::proxy::Proxy;
use super::server::Server;

/// The Redis server of a [`Cluster`](super::Cluster): without persistence, so a kill or a stop empties it.
pub struct Redis {
    server: Server,
    port: u16,
    pub(super) proxy: Option<Proxy>,
}

impl Redis {
    pub(super) async fn launch(shared: &Shared) -> Result<Self, DevError> {
        const ATTEMPTS: u32 = 5;
        let path = shared.binaries.redis()?.to_owned();
        let home = shared.dir.join("redis");
        shared.account.create_dir(&home)?;
        let mut attempt = 1;
        loop {
            let port = ports::free()?;
            let program = Program::new("redis", path.clone(), home.clone(), home.join("server.log"));
            let program = program.args(arguments(port, &home.join("redis.pid"), shared.binaries.redis_major));
            let redis = Self { server: Server::new(program, shared.account.clone()), port, proxy: None };
            match redis.start().await {
                Err(error) if error.is_port_taken() && attempt < ATTEMPTS => attempt += 1,
                result => return result.map(|()| redis),
            }
        }
    }

    /// The connection string: through the proxy, if there is one.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.proxy.as_ref().map_or(self.port, Proxy::port))
    }

    /// The connection string past the proxy.
    pub fn direct_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server's own port, also when there is a proxy.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Whether the server lives; a frozen one does.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// The proxy before Redis, in a cluster built with `proxied(true)`.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// SIGKILL; returns when it is gone. Does nothing when it is down.
    ///
    /// # Errors
    /// None today; the type leaves room.
    pub async fn kill(&self) -> Result<(), DevError> {
        self.server.kill().await;
        Ok(())
    }

    /// Stops it in order (SIGTERM) and waits. Does nothing when it is down.
    ///
    /// # Errors
    /// [`DevError::TimedOut`] after 30 s.
    pub async fn stop(&self) -> Result<(), DevError> {
        self.server.stop(Signal::TERM).await
    }

    /// SIGSTOP: connections are accepted, commands hang.
    ///
    /// # Errors
    /// [`DevError::NotRunning`].
    pub async fn freeze(&self) -> Result<(), DevError> {
        self.server.freeze().await
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// [`DevError::NotRunning`].
    pub async fn thaw(&self) -> Result<(), DevError> {
        self.server.thaw().await
    }

    /// Starts it again, empty, on its port, and waits until it answers. Does nothing when it runs.
    ///
    /// # Errors
    /// [`DevError::Exited`] with the end of its log; [`DevError::TimedOut`] after 60 s.
    pub async fn start(&self) -> Result<(), DevError> {
        self.server.spawn()?;
        self.wait_ready(START_PATIENCE).await
    }

    /// A stop and a start.
    ///
    /// # Errors
    /// Those of [`stop`](Self::stop) and [`start`](Self::start).
    pub async fn restart(&self) -> Result<(), DevError> {
        self.stop().await?;
        self.start().await
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// [`DevError::Exited`] as soon as its server has ended; [`DevError::TimedOut`] with the last refusal.
    pub async fn wait_ready(&self, patience: Duration) -> Result<(), DevError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(exited) = self.server.has_exited() {
                return Err(exited);
            }
            // Its number, because somebody else's Redis may have been faster on this port.
            let last = match timeout(deadline - Instant::now(), who_answers(self.port)).await {
                Ok(Ok(pid)) if self.pid() == Some(pid) => return Ok(()),
                Ok(Ok(pid)) => format!("process {pid} answers on its port"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if Instant::now() >= deadline {
                return Err(self.server.timed_out("ready", patience, last));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        ports::give_back(self.port);
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("port", &self.port).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

fn arguments(port: u16, pid_file: &std::path::Path, major: u32) -> Vec<std::ffi::OsString> {
    let port = port.to_string();
    let mut all: Vec<std::ffi::OsString> =
        ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]
            .into_iter()
            .chain(["--port", &port, "--pidfile"])
            .map(Into::into)
            .collect();
    all.push(PathBuf::from(pid_file).into());
    if major >= 7 {
        // For DEBUG SLEEP; older versions allow it anyway and refuse to start with an option they do not know.
        all.extend(["--enable-debug-command", "local"].map(Into::into));
    }
    all
}

async fn who_answers(port: u16) -> std::io::Result<u32> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"INFO server\r\n").await?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(pid) = parse_process_id(&String::from_utf8_lossy(&answer)) {
            return Ok(pid);
        }
    }
}

/// The whole line, so that half a number is not taken for the number.
fn parse_process_id(info: &str) -> Option<u32> {
    info.split_once("process_id:")?.1.split_once("\r\n")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_number_is_read_only_when_complete() {
        assert_eq!(parse_process_id("$9\r\n# Server\r\nprocess_id:4711\r\nx"), Some(4711));
        assert_eq!(parse_process_id("process_id:47"), None);
        assert_eq!(parse_process_id("-LOADING\r\n"), None);
    }

    #[test]
    fn only_versions_that_know_it_are_told_about_debug() {
        let has = |major| arguments(1, "/x".as_ref(), major).contains(&"--enable-debug-command".into());
        assert!(has(7) && has(8) && !has(6));
    }
}
