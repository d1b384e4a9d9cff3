//! What the planner says of a statement in the transaction that is open, which goes on whatever it says.

use dbopt_core::query::advise::{Reading, read};
use tokio_postgres::Client;

use super::catalog::one;
use super::error::{Doing, Error};

/// The plan of `text`, made for any values; or why there is none.
pub(super) async fn explain(client: &Client, text: &str, params: usize) -> Result<Result<Reading, String>, Error> {
    client.batch_execute("SAVEPOINT dbopt_one").await.doing("explain a statement")?;
    // The extended protocol takes one statement alone.
    let prepared = client.execute(&format!("PREPARE dbopt_advised AS {text}"), &[]).await;
    let told = match &prepared {
        Ok(_) => {
            let values = if params == 0 { String::new() } else { format!("({})", vec!["NULL"; params].join(", ")) };
            one(client, &format!("EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE dbopt_advised{values}")).await
        }
        Err(_) => Ok(None),
    };
    client
        .batch_execute("ROLLBACK TO SAVEPOINT dbopt_one; RELEASE SAVEPOINT dbopt_one")
        .await
        .doing("explain a statement")?;
    if prepared.is_ok() {
        client.batch_execute("DEALLOCATE dbopt_advised").await.doing("explain a statement")?;
    }
    match prepared.map(|_| ()).and(told) {
        Ok(json) => Ok(json.as_deref().and_then(read).ok_or_else(|| "the server's answer is no plan".to_owned())),
        // Not the server's words, which may quote the statement.
        Err(error) => match error.as_db_error() {
            Some(db) => Ok(Err(refusal(db.code().code()))),
            None => Err(Error::Database { doing: "explain a statement", error }),
        },
    }
}

fn refusal(code: &str) -> String {
    let what = match code {
        "42501" => "this user may not read its tables",
        "42P01" => "a table of it is not there",
        "42703" | "42883" => "a column or function of it is not there",
        "42P18" | "42P08" => "the type of one of its placeholders cannot be told from the text",
        "42601" => "with placeholders in place of its values it is no statement any more",
        "57014" => "planning it takes too long",
        _ => "the server refuses to plan it",
    };
    format!("{what} (SQLSTATE {code})")
}
