//! The second layer: encoded values in Redis, shared by all instances.
