//! Work that goes on beside the calls.

use std::future::Future;
use std::pin::Pin;

/// A background loop, and the name it is traced under.
pub type Task = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);
