//! How busy a node's machine is.

use serde::Serialize;

/// How busy a node's machine is; what nobody can tell is absent, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct HostReading {
    /// The share of its processors' time in use, from 0 to 1.
    pub cpu: Option<f64>,
    /// The share of its memory in use, from 0 to 1.
    pub memory: Option<f64>,
    /// The share of the data directory's file system in use, from 0 to 1.
    pub disk: Option<f64>,
}
