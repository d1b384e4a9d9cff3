//! What a replica's `primary_conninfo` says: whom it follows, and what a coordinator left there. Pure.
//!
//! It is the one thing that outlives a coordinator on a standby: nothing can be written to its tables, and PostgreSQL keeps no settings
//! of others in `ALTER SYSTEM`. A frozen replica keeps all it was told before; what is appended wins, and leads nowhere:
//!
//! ```text
//! host=db1 user=repl options='-c dbopt.epoch=7 -c dbopt.from=db1' hostaddr='' host=/dbopt-frozen
//! ```

use std::fmt;

/// A folder that is nowhere: the host of a frozen replica's primary.
const NOWHERE: &str = "/dbopt-frozen";
const EPOCH: &str = "dbopt.epoch=";
const FROM: &str = "dbopt.from=";
const TO: &str = "dbopt.to=";

/// A connection string of keys and values, in their order; of two with one key the later one holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conninfo(Vec<(String, String)>);

/// What a coordinator left on a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mark {
    /// The number of the attempt; each has one of its own.
    pub epoch: u64,
    /// Whether the node is kept from receiving; as a primary, from taking writes.
    pub frozen: bool,
    /// The primary at that time, by its name.
    pub from: Option<String>,
    /// Who shall be the primary without a promotion: the attempt takes an earlier one back.
    pub to: Option<String>,
}

/// Where a server is, as the others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Conninfo {
    /// Reads `key=value` pairs as libpq does; `None` for a URI, and for what libpq would refuse.
    pub fn parse(text: &str) -> Option<Conninfo> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return None;
        }
        let mut pairs = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after) = rest.split_once('=')?;
            let (value, after) = value(after.trim_start())?;
            pairs.push((key.trim_end().to_owned(), value));
            rest = after.trim_start();
        }
        Some(Conninfo(pairs))
    }

    /// The value that holds for `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The server that it leads to, unless it is frozen or names none.
    pub fn place(&self) -> Option<Place> {
        let host = self.get("hostaddr").filter(|addr| !addr.is_empty()).or_else(|| self.get("host"))?;
        let port = self.get("port").map_or(Some(5432), |port| port.parse().ok())?;
        (host != NOWHERE && !host.is_empty()).then(|| Place { host: host.to_owned(), port })
    }

    /// What a coordinator left there.
    pub fn mark(&self) -> Option<Mark> {
        let options = self.get("options")?;
        let word = |name| options.split_whitespace().find_map(|word| word.strip_prefix(name));
        let epoch = word(EPOCH)?.parse().ok()?;
        let (from, to) = (word(FROM).map(decoded), word(TO).map(decoded));
        Some(Mark { epoch, frozen: self.get("host") == Some(NOWHERE), from, to })
    }

    /// The same, leading nowhere, with the attempt's number, the primary before, and who is to be it again.
    pub fn frozen(&self, epoch: u64, from: Option<&str>, to: Option<&str>) -> Conninfo {
        let mut pairs = self.unfrozen().0;
        let word = |key, name: Option<&str>| name.map(|name| format!(" -c {key}{}", encoded(name))).unwrap_or_default();
        pairs.push(("options".into(), format!("-c {EPOCH}{epoch}{}{}", word(FROM, from), word(TO, to))));
        pairs.push(("hostaddr".into(), String::new()));
        pairs.push(("host".into(), NOWHERE.into()));
        Conninfo(pairs)
    }

    /// As it was before it was frozen.
    pub fn unfrozen(&self) -> Conninfo {
        let mut pairs = self.0.clone();
        if self.get("host") == Some(NOWHERE) {
            for key in ["host", "hostaddr", "options"] {
                if let Some(last) = pairs.iter().rposition(|(known, _)| known == key) {
                    pairs.remove(last);
                }
            }
        }
        Conninfo(pairs)
    }

    /// As it was before it was frozen, with the number of the attempt that ended; 0 leaves none.
    pub fn released(&self, epoch: u64) -> Conninfo {
        let mut clean = self.unfrozen();
        let options = clean.get("options").unwrap_or_default();
        let mut kept: Vec<&str> = Vec::new();
        for word in options.split_whitespace() {
            if [EPOCH, FROM, TO].iter().any(|ours| word.starts_with(ours)) {
                kept.pop(); // its -c
            } else {
                kept.push(word);
            }
        }
        let mut kept = kept.join(" ");
        if epoch > 0 {
            kept = format!("{kept} -c {EPOCH}{epoch}").trim_start().to_owned();
        }
        clean.0.retain(|(key, _)| key != "options");
        if !kept.is_empty() {
            clean.0.push(("options".into(), kept));
        }
        clean
    }

    /// The same, following `leader` as the node called `name`.
    pub fn following(&self, leader: &Place, name: &str, epoch: u64) -> Conninfo {
        let mut new = self.released(epoch);
        let ours =
            [("host", leader.host.clone()), ("port", leader.port.to_string()), ("application_name", name.into())];
        new.0.retain(|(key, _)| key != "hostaddr" && ours.iter().all(|(our, _)| our != key));
        new.0.extend(ours.map(|(key, value)| (key.to_owned(), value)));
        new
    }
}

/// Reads a value and what comes after it.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let mut chars = quoted.unwrap_or(text).char_indices();
    let mut value = String::new();
    let body = quoted.unwrap_or(text);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next()?.1),
            '\'' if quoted.is_some() => return Some((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_whitespace() => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// A name as one word of `options`, and back: whatever is no letter or digit is written as its bytes.
fn encoded(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-.:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("_{byte:02x}"));
        }
        text
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, coded)) = rest.split_once('_') {
        bytes.extend(plain.bytes());
        let Some(byte) = coded.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else { break };
        bytes.push(byte);
        rest = &coded[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Conninfo {
    /// As libpq reads it; it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            if !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:".contains(c)) {
                write!(f, "{space}{key}={value}")?;
            } else {
                write!(f, "{space}{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Conninfo {
        Conninfo::parse(text).unwrap()
    }

    #[test]
    fn what_libpq_reads_is_read() {
        let info = of(r"host = db1 port=5433  password='it\'s a \\ word' user=repl hostaddr=''");
        assert_eq!(info.get("password"), Some(r"it's a \ word"));
        assert_eq!(info.place(), Some(Place { host: "db1".into(), port: 5433 }));
        assert_eq!(of(&info.to_string()), info);
        for wrong in ["postgres://db1/x", "host", "host='db1"] {
            assert_eq!(Conninfo::parse(wrong), None, "{wrong}");
        }
        assert_eq!(of("").place(), None);
    }

    #[test]
    fn a_frozen_one_leads_nowhere_and_forgets_nothing() {
        let before = of("host=db1 port=5433 user=repl options='-c search_path=x'");
        let frozen = of(&before.frozen(7, Some("my db_1"), None).to_string());
        assert_eq!(frozen.place(), None);
        assert_eq!(frozen.mark(), Some(Mark { epoch: 7, frozen: true, from: Some("my db_1".into()), to: None }));
        assert_eq!(
            frozen.frozen(8, None, Some("b")).mark(),
            Some(Mark { epoch: 8, frozen: true, from: None, to: Some("b".into()) })
        );
        assert_eq!((frozen.released(0), frozen.unfrozen()), (before.clone(), before.clone()));
        let released = frozen.frozen(9, None, None).released(9);
        assert_eq!(released.get("options"), Some("-c search_path=x -c dbopt.epoch=9"));
        assert_eq!(released.mark(), Some(Mark { epoch: 9, ..Mark::default() }));
        assert_eq!(released.place(), before.place());
    }

    #[test]
    fn who_follows_another_keeps_user_and_password() {
        let place = Place { host: "db2".into(), port: 5432 };
        let info = of("host=db1 hostaddr=10.0.0.1 user=repl password=x").frozen(3, Some("db1"), None);
        let info = info.following(&place, "db3", 3);
        assert_eq!(
            info.to_string(),
            "user=repl password=x options='-c dbopt.epoch=3' host=db2 port=5432 application_name=db3"
        );
        assert_eq!(info.place(), Some(place));
    }

    proptest! {
        #[test]
        fn text_and_back(values in proptest::collection::vec("[ a-z'\\\\=_ü]{0,8}", 0..5)) {
            let info = Conninfo(values.iter().enumerate().map(|(i, v)| (format!("key{i}"), v.clone())).collect());
            prop_assert_eq!(&of(&info.to_string()), &info);
            let name = values.concat();
            prop_assert_eq!(info.frozen(1, Some(&name), None).mark().unwrap().from.unwrap(), name);
            prop_assert_eq!(info.frozen(1, None, None).released(0), info);
        }
    }
}
