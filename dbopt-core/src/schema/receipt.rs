//! What a validation leaves: which scripts were proved, on which server. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::migration::Migration;

/// The proof that these scripts went forward, back and forward again.
///
/// Its id is a checksum of the rest: it shows a mistake, not a forgery. Whoever may write the file may apply migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What names it.
    pub id: String,
    /// When it was made, in seconds of the Unix era, by the clock of the server.
    pub made_at: u64,
    /// The major version of the server.
    pub server_major: u32,
    /// Every migration up to the last one that was validated, with the checksums of both scripts.
    pub migrations: Vec<Proved>,
}

/// A migration of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proved {
    /// Its version.
    pub version: String,
    /// The checksum of `up.sql`.
    pub up: String,
    /// The checksum of `down.sql`.
    pub down: Option<String>,
}

impl Receipt {
    /// A receipt for `migrations`.
    pub fn new(migrations: &[Migration], server_major: u32, made_at: u64) -> Receipt {
        let proved = migrations.iter().map(|migration| Proved {
            version: migration.version.clone(),
            up: Migration::checksum(&migration.up),
            down: migration.down.as_deref().map(Migration::checksum),
        });
        let mut receipt = Receipt { id: String::new(), made_at, server_major, migrations: proved.collect() };
        receipt.id = receipt.sum();
        receipt
    }

    fn sum(&self) -> String {
        let mut text = format!("{} {}", self.made_at, self.server_major);
        for Proved { version, up, down } in &self.migrations {
            text.push_str(&format!("\n{version} {up} {}", down.as_deref().unwrap_or("-")));
        }
        Migration::checksum(&text)[..16].to_owned()
    }

    /// Why this receipt does not allow to apply `pending` now; `None` if it does.
    pub fn refusal(&self, pending: &[&Migration], server_major: u32, now: u64, age: Duration) -> Option<String> {
        let again = "run `dbopt migrate validate` again";
        if self.id != self.sum() {
            return Some(format!("the receipt was changed after it was made: {again}"));
        }
        if self.server_major != server_major {
            let was = self.server_major;
            return Some(format!(
                "the receipt is from PostgreSQL {was}, this server is {server_major}: {again} on that version"
            ));
        }
        if now.saturating_sub(self.made_at) > age.as_secs() {
            let hours = now.saturating_sub(self.made_at) / 3600;
            return Some(format!(
                "the receipt is {hours} h old, and schema.receipt_age is {} h: {again}",
                age.as_secs() / 3600
            ));
        }
        pending.iter().find_map(|migration| {
            let Some(proved) = self.migrations.iter().find(|proved| proved.version == migration.version) else {
                return Some(format!("the receipt knows nothing of {}: {again}", migration.name));
            };
            let same = proved.up == Migration::checksum(&migration.up)
                && proved.down == migration.down.as_deref().map(Migration::checksum);
            (!same).then(|| format!("{} was edited after it was validated: {again}", migration.name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_holds_for_its_scripts_server_and_time() {
        let one = Migration {
            version: "1".into(),
            name: "1_a".into(),
            up: "a".into(),
            down: Some("b".into()),
            in_transaction: true,
        };
        let day = Duration::from_secs(86_400);
        let receipt = Receipt::new(std::slice::from_ref(&one), 15, 1000);
        assert_eq!(receipt.refusal(&[&one], 15, 2000, day), None);
        let why = |receipt: &Receipt, one: &Migration, major, now| receipt.refusal(&[one], major, now, day).unwrap();
        assert!(why(&receipt, &one, 16, 2000).contains("PostgreSQL 15"));
        assert!(why(&receipt, &one, 15, 1000 + 86_401).contains("24 h old"));
        let edited = Migration { down: Some("c".into()), ..one.clone() };
        assert!(why(&receipt, &edited, 15, 2000).contains("edited"));
        let other = Migration { version: "2".into(), ..one.clone() };
        assert!(why(&receipt, &other, 15, 2000).contains("knows nothing"));
        let forged = Receipt { made_at: 1500, ..receipt };
        assert!(why(&forged, &one, 15, 2000).contains("changed after"));
    }
}
