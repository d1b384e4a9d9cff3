//! Migrations that are proved before they run, and can be taken back: on the folders and the embedded migrations of diesel.
//!
//! ```no_run
//! use dbopt_diesel::prelude::*;
//! use diesel_migrations::{EmbeddedMigrations, embed_migrations};
//!
//! const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../examples/flights/migrations");
//!
//! # async fn start() -> Result<Db, Box<dyn std::error::Error>> {
//! let db = Db::connect(Config::load()?).await?;
//! let report = db.migrate(&MIGRATIONS).await?;       // however many instances start at once, each migration is applied once
//! println!("{} migrations applied", report.ran.len());
//! # Ok(db) }
//! ```
//!
//! Each migration runs in a transaction of its own that also holds its line of the history. `dbopt migrate` does the same from a shell,
//! and more: see the book.

mod alone;
mod backup;
mod belief;
mod catalog;
mod db;
mod derive;
mod downs;
mod error;
mod event;
mod lock;
mod migrator;
mod options;
mod proof;
mod recorder;
mod run;
mod scratch;
mod source;
mod statements;
mod store;
mod target;
mod trace;
mod validate;

pub use downs::DerivedDown;
pub use error::{Error, Failure};
pub use event::Event;
pub use migrator::Migrator;
pub use options::{Back, Forward, Ran, Report, Status};
pub use source::Migrations;
pub use statements::Statements;
pub use trace::Traced;
pub use validate::{Trial, Validation};
