//! Where the statements come from.

use std::error::Error;
use std::path::Path;

use dbopt_diesel::advise::{Statement, Workload, counted_by_server};
use dbopt_diesel::core::schema::script::Script;

use crate::status::Source;

/// Those of an application, of a file, or of all servers.
pub(super) async fn workload(
    app: Option<&str>,
    file: Option<&Path>,
    urls: &[String],
    least_calls: u64,
) -> Result<Workload, Box<dyn Error>> {
    if let Some(app) = app {
        let source = Source::new(app)?;
        let status: serde_json::Value = source.fetch().await?;
        if status["insight"]["statements"].is_null() {
            let url = source.url();
            return Err(format!("{url} tells nothing of its statements: is it of a version before `insight`?").into());
        }
        return Ok(Workload::of_json(&status["insight"]));
    }
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let script = Script::parse(&text).map_err(|why| format!("{}: {why}", file.display()))?;
        let calls = least_calls as f64;
        let statement = |sql: &str| Statement { sql: sql.to_owned(), calls, ..Statement::default() };
        let statements = script.statements().map(|one| statement(one.sql)).collect();
        return Ok(Workload { statements, ..Workload::default() });
    }
    let mut all = Workload::default();
    let mut refused = None;
    for url in urls {
        // Replicas count what they are asked themselves.
        match counted_by_server(url).await {
            Ok(counted) => all.absorb(counted),
            Err(error) => {
                all.notes.push(format!(
                    "a server could not be asked what is run there: {}",
                    error.to_string().lines().next().unwrap_or_default()
                ));
                refused = Some(error);
            }
        }
    }
    match refused {
        Some(error) if all.statements.is_empty() => Err(error.into()),
        _ => Ok(all),
    }
}
