//! One child process: started without our rights and our terminal, watched by a thread, signalled without ever
//! hitting a stranger that was given its number.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::account::Account;
use super::error::{DevError, tail};
use super::family::Processes;

/// How long a family of processes gets to stop or to vanish after the signal that leaves it no choice.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);

/// The file that marks a cluster's processes as such.
const MARK: &str = ".dbopt-mark";

/// A program to start inside the cluster's folder.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    /// Its working directory, and where its log and its mark are.
    pub(super) home: PathBuf,
    pub(super) log: PathBuf,
}

impl Program {
    pub(super) fn new(name: &str, path: PathBuf, home: PathBuf, log: PathBuf) -> Self {
        Self { name: name.to_owned(), path, args: Vec::new(), env: Vec::new(), home, log }
    }

    pub(super) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Starts it. Its standard input is an empty file in the cluster's folder instead of /dev/null: every descendant
    /// inherits it, and so the guardian recognises all of them (see `guardian.sh`), whoever their parent is by then.
    pub(super) fn spawn(&self, account: &Account) -> Result<Process, DevError> {
        let doing = || format!("start {} with its log at {}", self.name, self.log.display());
        let mark = self.home.join(MARK);
        if !mark.exists() {
            account.write(&mark, "")?;
        }
        let mark = File::open(mark).map_err(DevError::io(doing()))?;
        let open = || {
            let file = File::options().append(true).create(true).open(&self.log)?;
            account.own(&self.log)?;
            std::io::Result::Ok(file)
        };
        let log = open().map_err(DevError::io(doing()))?;
        let clone = || log.try_clone().map_err(DevError::io(doing()));
        let mut command = Command::new(&self.path);
        command
            .args(&self.args)
            .current_dir(&self.home)
            .stdin(Stdio::from(mark))
            .stdout(Stdio::from(clone()?))
            .stderr(Stdio::from(clone()?));
        quiet_environment(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        account.drop_rights(&mut command);
        Process::spawn(&self.name, command)
    }

    /// Runs it to its end.
    pub(super) async fn run(&self, account: &Account) -> Result<(), DevError> {
        let status = self.spawn(account)?.exited().await;
        if status.success() {
            return Ok(());
        }
        Err(DevError::Command { program: self.name.clone(), status: status.to_string(), output: tail(&self.log) })
    }
}

/// The caller's PGHOST or PGOPTIONS would reach the servers' own connections, and a time zone to detect costs initdb
/// 0.1 s; messages are read by us, so they are in English.
fn quiet_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("LANGUAGE");
}

/// A running (or ended) child.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Held while signalling and while reaping: as long as it says true the number is ours, dead or alive.
    ours: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    pub(super) fn spawn(name: &str, mut command: Command) -> Result<Self, DevError> {
        // A process group of its own: Ctrl-C in the terminal is for the owner, who then ends the cluster in order.
        command.process_group(0);
        let doing = format!("start {name} ({})", command.get_program().to_string_lossy());
        let mut child = command.spawn().map_err(DevError::io(doing.clone()))?;
        let pid = Pid::from_child(&child);
        let ours = Arc::new(Mutex::new(true));
        let (tell, exit) = watch::channel(None);
        let watcher = {
            let ours = Arc::clone(&ours);
            let (hand_over, child_for_thread) = std::sync::mpsc::channel::<Child>();
            std::thread::Builder::new()
                .name("dbopt-dev wait".to_owned())
                .stack_size(128 * 1024)
                .spawn(move || {
                    if let Ok(child) = child_for_thread.recv() {
                        reap(pid, child, &ours, &tell);
                    }
                })
                .map(|_| hand_over)
        };
        match watcher {
            Ok(hand_over) => {
                let _ = hand_over.send(child);
                Ok(Self { pid, ours, exit })
            }
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(DevError::Io { doing, source })
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Sends a signal to this process alone; false when it has ended.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        *lock(&self.ours) && kill_process(self.pid, signal).is_ok()
    }

    /// Waits for its end.
    pub(super) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|status| *status) {
            Ok(Some(status)) => status,
            // The watching thread has gone without a word: somebody else in this program reaped our child.
            _ => ExitStatus::from_raw(0),
        }
    }

    /// The end, if it came already.
    pub(super) fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// SIGSTOP to it and to every descendant, until a look at the process table shows none that still moves:
    /// what it forked between our look and our signal is caught by the next round.
    pub(super) async fn freeze(&self) -> Vec<Pid> {
        self.signal(Signal::STOP);
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        loop {
            let table = Processes::read().await;
            let family = table.family(self.pid);
            let moving: Vec<Pid> = family.iter().copied().filter(|pid| table.moves(*pid)).collect();
            if moving.is_empty() || Instant::now() >= deadline || !self.is_running() {
                return family;
            }
            for pid in moving {
                let _ = kill_process(pid, Signal::STOP);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// SIGCONT to it and to every descendant; children first, so that the parent finds nobody asleep.
    pub(super) async fn thaw(&self) {
        for pid in Processes::read().await.family(self.pid).into_iter().rev() {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// SIGKILL to it and to every descendant, as a power cut would; returns when all of them are gone.
    pub(super) async fn kill(&self) {
        let family = self.freeze().await;
        for pid in family.iter().rev() {
            if *pid != self.pid {
                let _ = kill_process(*pid, Signal::KILL);
            }
        }
        self.signal(Signal::KILL);
        self.exited().await;
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        while Instant::now() < deadline {
            let table = Processes::read().await;
            // A number given to a stranger meanwhile costs us the patience, nothing else.
            if !family.iter().any(|pid| *pid != self.pid && table.is_alive(*pid)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn reap(pid: Pid, mut child: Child, ours: &Mutex<bool>, tell: &watch::Sender<Option<ExitStatus>>) {
    // First wait without reaping: the number stays ours until nobody can be about to signal it.
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    let status = {
        let mut ours = lock(ours);
        *ours = false;
        child.wait()
    };
    tell.send_replace(Some(status.unwrap_or_else(|_| ExitStatus::from_raw(0))));
}

/// A poisoned lock here guards a plain value that is right in either state.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
