//! What is dangerous about a migration.
