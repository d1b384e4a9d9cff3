//! What happened: one line per operation, on one clock for all processes of the machine.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the machine's monotonic clock, which all its processes share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// How a register is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Method {
    /// Cached in both layers.
    Cached,
    /// Cached in memory only.
    Memory,
    /// Cached in Redis only.
    Redis,
    /// Cached for a short time, and loaded anew before it expires.
    Refreshed,
    /// Cached with strong consistency.
    Strong,
    /// Not cached.
    Plain,
    /// A write that invalidates.
    Write,
    /// A write that stores what `Cached` would read.
    WriteThrough,
    /// A write that stores what `Strong` would read.
    WriteThroughStrong,
    /// A write in a transaction of several calls.
    Transaction,
    /// A transaction that writes, reads what it wrote, and is rolled back.
    RolledBack,
}

impl Method {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Method; 11] = [
        Method::Cached,
        Method::Memory,
        Method::Redis,
        Method::Refreshed,
        Method::Strong,
        Method::Plain,
        Method::Write,
        Method::WriteThrough,
        Method::WriteThroughStrong,
        Method::Transaction,
        Method::RolledBack,
    ];

    /// The ways to read.
    pub(crate) const READS: usize = 6;

    pub(crate) fn is_read(self) -> bool {
        (self as usize) < Method::READS
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Cached => "cached",
            Method::Memory => "cached in memory",
            Method::Redis => "cached in Redis",
            Method::Refreshed => "cached, refreshed",
            Method::Strong => "cached, strong",
            Method::Plain => "not cached",
            Method::Write => "write",
            Method::WriteThrough => "write through",
            Method::WriteThroughStrong => "write through, strong",
            Method::Transaction => "transaction",
            Method::RolledBack => "rolled back",
        }
    }
}

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The process it ran in.
    pub(crate) process: u32,
    /// The context it ran in; 0: none. A context keeps its number when its token moves to another process.
    pub(crate) context: u64,
    /// The register.
    pub(crate) key: u32,
    /// How.
    pub(crate) method: Method,
    /// Before it was called.
    pub(crate) start: u64,
    /// After it had returned.
    pub(crate) end: u64,
    /// The version read or written; `None`: it failed, so it promises nothing, and a write may have happened or not.
    pub(crate) version: Option<i64>,
}

impl Record {
    fn line(&self) -> String {
        let Record { process, context, key, method, start, end, version } = *self;
        format!("{process} {context} {key} {} {start} {end} {}\n", method as usize, version.unwrap_or(-1))
    }

    fn parse(line: &str) -> Option<Record> {
        let numbers: Vec<i64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[process, context, key, method, start, end, version] = numbers.as_slice() else { return None };
        Some(Record {
            process: u32::try_from(process).ok()?,
            context: u64::try_from(context).ok()?,
            key: u32::try_from(key).ok()?,
            method: *Method::ALL.get(usize::try_from(method).ok()?)?,
            start: u64::try_from(start).ok()?,
            end: u64::try_from(end).ok()?,
            version: (version >= 0).then_some(version),
        })
    }
}

/// A process's own file. Each record is handed to the kernel at once: a killed process loses the operations that it had not yet
/// told anybody of.
pub(crate) struct Journal(Mutex<File>);

impl Journal {
    pub(crate) fn create(path: &Path) -> io::Result<Journal> {
        Ok(Journal(Mutex::new(File::options().create(true).append(true).open(path)?)))
    }

    pub(crate) fn add(&self, record: &Record) -> io::Result<()> {
        self.0.lock().write_all(record.line().as_bytes())
    }
}

/// All records of a folder.
pub(crate) fn read(dir: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let text = std::fs::read_to_string(entry?.path())?;
        // A line without an end is what a killed process left.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        records.extend(whole.lines().filter_map(Record::parse));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_line() {
        for (version, method) in [(Some(7), Method::RolledBack), (None, Method::Strong)] {
            let record = Record { process: 1, context: 1 << 40, key: 2, method, start: 3, end: 4, version };
            assert_eq!(Record::parse(record.line().trim_end()), Some(record));
        }
        assert_eq!(Record::parse("1 2 3"), None);
    }

    #[test]
    fn methods_are_in_the_order_of_their_numbers() {
        assert!(Method::ALL.iter().enumerate().all(|(number, method)| *method as usize == number));
        assert!(Method::ALL.iter().filter(|method| method.is_read()).count() == Method::READS);
    }
}
