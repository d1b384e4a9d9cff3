//! Rates as they are written in settings: `"100/min"`, `"5/s, 100/min"`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest count of a rate: more is no limit.
pub const MAX_COUNT: u32 = 1_000_000_000;

/// So many calls in any window of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// The length of the window.
    pub window: Duration,
}

impl Rate {
    /// What is said where there is no limit to be told of.
    pub(crate) const LEAST: Rate = Rate { count: NonZeroU32::MIN, window: Duration::from_secs(1) };
}

/// Who is limited together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One caller.
    User,
    /// All callers of a method, or of all methods with the configured limit.
    Global,
    /// All calls that reach the database, whatever their attributes.
    Database,
}

impl Scope {
    /// All of them, in the order of [`Scope::index`].
    pub const ALL: [Scope; 3] = [Scope::User, Scope::Global, Scope::Database];

    /// The name in metrics and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Global => "global",
            Scope::Database => "database",
        }
    }

    /// The place in arrays that hold one item per scope.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| Duration::from_secs(*seconds) == self.window);
        match unit {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{} in {}", self.count, humantime::format_duration(self.window)),
        }
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

/// The windows of one limit, the shortest first; none means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Rates(Vec<Rate>);

impl Rates {
    /// One window.
    pub fn one(count: NonZeroU32, window: Duration) -> Self {
        Rates(vec![Rate { count, window }])
    }

    /// Several windows; they hold together.
    ///
    /// # Errors
    /// When two contradict each other, with what to write instead.
    pub fn new(rates: impl IntoIterator<Item = Rate>) -> Result<Self, RateError> {
        let mut rates: Vec<Rate> = rates.into_iter().collect();
        rates.sort_by_key(|rate| rate.window);
        for pair in rates.windows(2) {
            contradiction(pair[0], pair[1])?;
        }
        Ok(Rates(rates))
    }

    /// The windows, the shortest first.
    pub fn windows(&self) -> &[Rate] {
        &self.0
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The smallest count, above which no call of that cost is ever admitted.
    pub fn least(&self) -> Option<NonZeroU32> {
        self.0.iter().map(|rate| rate.count).min()
    }
}

/// Two windows of which one never decides anything.
fn contradiction(short: Rate, long: Rate) -> Result<(), RateError> {
    if short.window == long.window {
        let smaller = if short.count < long.count { short } else { long };
        return Err(RateError::new(format!("`{short}` and `{long}` limit the same window"), smaller.to_string()));
    }
    if long.count <= short.count {
        let what = format!("`{short}` never decides anything beside `{long}`");
        return Err(RateError::new(what, long.to_string()));
    }
    let times = long.window.as_millis().div_ceil(short.window.as_millis().max(1));
    let most = u128::from(short.count.get()) * times;
    if u128::from(long.count.get()) >= most {
        let what =
            format!("`{long}` never decides anything beside `{short}`, which lets at most {most} pass in that time");
        return Err(RateError::new(what, short.to_string()));
    }
    Ok(())
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; write \"{instead}\"")]
pub struct RateError {
    /// What is wrong.
    pub what: String,
    /// What would do.
    pub instead: String,
}

impl RateError {
    fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        RateError { what: what.into(), instead: instead.into() }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let text = text.trim();
        let Some((count, unit)) = text.split_once('/') else {
            let count = if text.parse::<NonZeroU32>().is_ok() { text } else { "100" };
            let what = format!("\"{text}\" is no rate: it takes a number, `/` and s, min, h or d");
            return Err(RateError::new(what, format!("{count}/min")));
        };
        let (count, unit) = (count.trim(), unit.trim());
        let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let what = format!("\"{unit}\" is no window: it takes s, min, h or d");
            return Err(RateError::new(what, format!("{count}/{}", meant(unit))));
        };
        match count.parse::<u32>().map(NonZeroU32::new) {
            Ok(Some(number)) if number.get() <= MAX_COUNT => {
                Ok(Rate { count: number, window: Duration::from_secs(*seconds) })
            }
            Ok(None) => Err(RateError::new("a rate of zero lets nobody pass", format!("100/{unit}"))),
            _ => {
                let what = format!("\"{count}\" is no number of calls from 1 to {MAX_COUNT}");
                Err(RateError::new(what, format!("100/{unit}")))
            }
        }
    }
}

fn meant(unit: &str) -> &'static str {
    match unit.to_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => "min",
    }
}

impl FromStr for Rates {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rates, RateError> {
        if text.trim().is_empty() {
            return Ok(Rates::default());
        }
        let rates: Vec<Rate> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Rates::new(rates)
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rate) in self.0.iter().enumerate() {
            write!(f, "{}{rate}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_shown_again() {
        for text in ["100/min", "5/s, 100/min", "1/d", "10/s, 100/min, 1000/h", ""] {
            assert_eq!(text.parse::<Rates>().unwrap().to_string(), text);
        }
        assert_eq!(" 100 / min ,5/s".parse::<Rates>().unwrap().to_string(), "5/s, 100/min");
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        for (text, instead) in [
            ("0/min", "100/min"),
            ("-1/s", "100/s"),
            ("100/fortnight", "100/min"),
            ("100 per minute", "100/min"),
            ("100", "100/min"),
            ("4294967296/s", "100/s"),
            ("5/s, 3/min", "3/min"),
            ("5/s, 5/min", "5/min"),
            ("5/s, 300/min", "5/s"),
            ("5/s, 7/s", "5/s"),
            ("5/s, x", "100/min"),
        ] {
            assert_eq!(text.parse::<Rates>().map_err(|e| e.instead), Err(instead.to_owned()), "{text}");
        }
    }
}
