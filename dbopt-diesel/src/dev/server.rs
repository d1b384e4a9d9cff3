//! What a PostgreSQL node and Redis have in common: a program that can be started, signalled and started again.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use super::account::Account;
use super::error::{DevError, tail};
use super::process::{Process, Program, lock};

/// How long a server that was told to stop may take; a smart shutdown waits for its clients.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Server {
    program: Program,
    account: Account,
    process: Mutex<Option<Arc<Process>>>,
}

impl Server {
    pub(super) fn new(program: Program, account: Account) -> Self {
        Self { program, account, process: Mutex::new(None) }
    }

    pub(super) fn name(&self) -> &str {
        &self.program.name
    }

    pub(super) fn log(&self) -> &Path {
        &self.program.log
    }

    /// Starts it, unless it runs.
    pub(super) fn spawn(&self) -> Result<(), DevError> {
        let mut process = lock(&self.process);
        if !process.as_ref().is_some_and(|process| process.is_running()) {
            *process = Some(Arc::new(self.program.spawn(&self.account)?));
        }
        Ok(())
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.running().ok().map(|process| process.pid())
    }

    pub(super) fn running(&self) -> Result<Arc<Process>, DevError> {
        let process = lock(&self.process).clone();
        process
            .filter(|process| process.is_running())
            .ok_or_else(|| DevError::NotRunning { server: self.name().to_owned() })
    }

    /// The reason why waiting for it is in vain.
    pub(super) fn has_exited(&self) -> Option<DevError> {
        let process = lock(&self.process).clone();
        let status = match process {
            Some(process) => process.exit_status()?.to_string(),
            None => return Some(DevError::NotRunning { server: self.name().to_owned() }),
        };
        let log = self.log().to_owned();
        Some(DevError::Exited { server: self.name().to_owned(), status, tail: tail(&log), log })
    }

    pub(super) fn timed_out(&self, wanted: &'static str, waited: Duration, last: String) -> DevError {
        DevError::TimedOut { server: self.name().to_owned(), wanted, waited, last, tail: tail(self.log()) }
    }

    /// As a power cut: it and all its children at once. Nothing happens when it is down already.
    pub(super) async fn kill(&self) {
        if let Ok(process) = self.running() {
            process.kill().await;
        }
    }

    pub(super) async fn freeze(&self) -> Result<(), DevError> {
        self.running()?.freeze().await;
        Ok(())
    }

    pub(super) async fn thaw(&self) -> Result<(), DevError> {
        self.running()?.thaw().await;
        Ok(())
    }

    /// Tells it to end and waits. Nothing happens when it is down already.
    pub(super) async fn stop(&self, signal: Signal) -> Result<(), DevError> {
        let Ok(process) = self.running() else { return Ok(()) };
        // The frozen do not hear.
        process.thaw().await;
        process.signal(signal);
        match tokio::time::timeout(STOP_PATIENCE, process.exited()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.timed_out("stopped", STOP_PATIENCE, "still running; kill() ends it".to_owned())),
        }
    }
}
