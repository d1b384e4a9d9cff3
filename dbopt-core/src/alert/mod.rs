//! Tells people what is wrong, once, and once more when it is over (R2.5, R6.3, R10.4).
//!
//! The runtime hands in [`Readings`] once a second. [`rules`] judges them, [`state`] decides what is news, and [`deliver`]
//! brings the news out: each channel has a queue and a task of its own, so that a receiver that hangs delays nobody. Nothing
//! here needs the database or Redis.

#[cfg(feature = "alerts")]
pub mod channel;
pub mod config;
pub mod deliver;
mod engine;
mod notification;
pub mod prometheus;
mod readings;
mod rule;
pub mod rules;
mod service;
pub mod state;
#[cfg(feature = "alerts")]
mod trial;

pub use config::Config;
pub use engine::Engine;
pub use notification::{Kind, Message, Notification};
pub use readings::{Measured, NodeCondition, NodeReading, Readings, Totals, Traffic, Window, loss_in_words};
pub use rule::{Rule, Severity};
pub use service::{AlertStatus, Alerting};
#[cfg(feature = "alerts")]
pub use trial::{Trial, send_test};
