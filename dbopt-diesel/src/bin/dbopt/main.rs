//! The `dbopt` command.
fn main() {}
