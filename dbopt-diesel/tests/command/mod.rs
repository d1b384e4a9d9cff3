//! The `dbopt` binary as a user runs it.

use std::process::{Output, Stdio};

use tokio::process::Command;

/// Its exit code, and what it wrote to stdout and stderr, with these variables and no others of its own.
pub(crate) async fn dbopt<V: AsRef<str>>(
    variables: &[(&str, V)],
    arguments: impl IntoIterator<Item = &str>,
) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbopt"));
    let own = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("DBOPT_"));
    own.for_each(|name| {
        command.env_remove(name);
    });
    command.envs(variables.iter().map(|(name, value)| (name, value.as_ref())));
    let Output { status, stdout, stderr } =
        command.args(arguments).stdin(Stdio::null()).current_dir("/").output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}
