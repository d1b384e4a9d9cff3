//! The file of slow statements, where one is wanted: a line of JSON for each, in files of bounded size and number.
//!
//! The file is opened anew for each batch, by a thread that may block: what somebody moved away, deleted or gave other rights is no surprise, and a full disk
//! holds up nobody but this file. What cannot be written waits a while and is tried again; what finds no place in the queue is counted.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::config::Config;
use super::slow::SlowStatement;

/// So many lines wait to be written at most.
const WAITING: usize = 256;

/// So many are written at once.
const BATCH: usize = 32;

/// After a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// The file of slow statements.
#[derive(Debug, Clone, Serialize)]
pub struct SlowFileStatus {
    /// Where it is.
    pub path: PathBuf,
    /// Lines that were written.
    pub written: u64,
    /// Lines that found no place in the queue.
    pub dropped: u64,
    /// Why nothing can be written at the moment.
    pub failure: Option<String>,
}

#[derive(Debug)]
pub(super) struct SlowFile {
    files: Arc<Files>,
    queue: mpsc::Sender<String>,
    lines: Mutex<Option<mpsc::Receiver<String>>>,
    written: AtomicU64,
    dropped: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl SlowFile {
    /// The one that the settings name.
    pub(super) fn of(config: &Config) -> Option<Arc<SlowFile>> {
        if config.slow_file.is_empty() {
            return None;
        }
        let (queue, lines) = mpsc::channel(WAITING);
        let path = PathBuf::from(&config.slow_file);
        Some(Arc::new(SlowFile {
            files: Arc::new(Files { path, most: config.slow_file_bytes, kept: config.slow_files_kept }),
            queue,
            lines: Mutex::new(Some(lines)),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failure: Mutex::default(),
        }))
    }

    /// Takes a record, if there is a place in the queue.
    pub(super) fn take(&self, record: &SlowStatement) {
        if self.queue.try_send(line(record)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn status(&self) -> SlowFileStatus {
        SlowFileStatus {
            path: self.files.path.clone(),
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failure: self.failure.lock().clone(),
        }
    }

    /// Writes what comes, for ever.
    pub(super) async fn write(self: Arc<Self>) {
        let Some(mut lines) = self.lines.lock().take() else { return };
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, BATCH).await > 0 {
            let mut left: VecDeque<String> = batch.drain(..).collect();
            while !left.is_empty() {
                let (files, count) = (self.files.clone(), left.len());
                let writing = spawn_blocking(move || {
                    let done = files.append(&mut left);
                    (left, done)
                });
                let Ok((rest, done)) = writing.await else { break };
                left = rest;
                self.written.fetch_add((count - left.len()) as u64, Ordering::Relaxed);
                self.tell(done.err());
                if !left.is_empty() {
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tells the log that it fails, or goes on: each of them once.
    fn tell(&self, error: Option<io::Error>) {
        let path = self.files.path.display();
        let why = error.map(|error| error.to_string());
        let before = std::mem::replace(&mut *self.failure.lock(), why.clone());
        match (&before, &why) {
            (None, Some(why)) => {
                tracing::warn!("slow statements cannot be written to {path}: {why}; it is tried again")
            }
            (Some(_), None) => tracing::info!("slow statements are written to {path} again"),
            _ => {}
        }
    }
}

/// The record with the time of day, for people and for those who collect logs.
fn line(record: &SlowStatement) -> String {
    // For whoever reads it: no decision rests on it.
    #[allow(clippy::disallowed_methods)]
    let now = std::time::SystemTime::now();
    let mut told = serde_json::to_value(record).unwrap_or_default();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("ago_seconds");
        fields.insert("time".into(), humantime::format_rfc3339_millis(now).to_string().into());
    }
    format!("{told}\n")
}

/// The file and the earlier ones: `slow.json`, `slow.json.1`, `slow.json.2`, .., the newest first.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    most: u64,
    kept: u32,
}

impl Files {
    /// Appends lines and takes them out of `lines`; the first that cannot be written stays, with those behind it.
    fn append(&self, lines: &mut VecDeque<String>) -> io::Result<()> {
        let mut file = self.open()?;
        let mut length = file.metadata()?.len();
        while let Some(line) = lines.front() {
            if length > 0 && length + line.len() as u64 > self.most {
                self.rotate()?;
                file = self.open()?;
                length = 0;
            }
            if let Err(error) = file.write_all(line.as_bytes()) {
                // Half a line is worse than none.
                let _as_it_was = file.set_len(length);
                return Err(error);
            }
            length += line.len() as u64;
            lines.pop_front();
        }
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
        options.open(&self.path)
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            move_away(&self.earlier(number), &self.earlier(number + 1))?;
        }
        move_away(&self.path, &self.earlier(1))
    }

    fn earlier(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// What is not there need not be moved.
fn move_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
