//! What Patroni answers, read leniently: versions 3 and 4 differ, and fields come and go. Pure.

use std::sync::Arc;

use serde_json::Value;

use crate::backend::Upstream;

/// How much of an answer that is none is shown.
const SHOWN: usize = 60;

/// A member as `/cluster` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: Arc<str>,
    /// Where its server is, if that is said: a member that is being made has no address yet.
    pub(super) place: Option<Upstream>,
    /// Its REST API.
    pub(super) api: Option<Arc<str>>,
    pub(super) rank: Rank,
}

/// What a member is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Leader,
    /// It leads a cluster that follows another cluster: nothing there takes writes.
    StandbyLeader,
    Follower,
}

/// The answer to `/cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClusterAnswer {
    /// Said since 3.2.
    pub(super) scope: Option<Arc<str>>,
    /// Whether Patroni was told to leave everything as it is.
    pub(super) paused: bool,
    pub(super) members: Vec<Listed>,
}

/// The answer to `/patroni`, `/primary` and the like: what a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SelfAnswer {
    /// Whether its server is a primary.
    pub(super) is_primary: bool,
    /// When its server was started, in microseconds since 1970.
    pub(super) started: Option<i64>,
    pub(super) system_identifier: Option<u64>,
    pub(super) version: Option<Version>,
    pub(super) scope: Option<Arc<str>>,
    /// Said since 3.2.
    pub(super) name: Option<Arc<str>>,
    pub(super) paused: bool,
    /// Nobody holds the lock, as far as it knows.
    pub(super) unlocked: bool,
    /// The store cannot be reached, and the leader goes on as all members agreed.
    pub(super) failsafe: bool,
}

/// A version of Patroni.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) [u32; 3]);

impl Version {
    /// Before it, with etcd's API v3, a leader that was frozen takes the lock back from the next one, and what that one acknowledged is gone.
    pub(super) const SAFE: Version = Version([3, 0, 3]);

    fn read(text: &str) -> Option<Version> {
        let mut parts = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        let mut next = || parts.next().flatten();
        Some(Version([next()?, next().unwrap_or(0), next().unwrap_or(0)]))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl ClusterAnswer {
    /// Reads the answer to `/cluster`.
    ///
    /// # Errors
    /// What it is instead, in words.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let value = object(text)?;
        let Some(members) = value.get("members").and_then(Value::as_array) else {
            return Err(format!("its answer is none of Patroni's: it has no list of members ({})", beginning(text)));
        };
        Ok(ClusterAnswer {
            scope: text_of(&value, "scope"),
            paused: is_set(&value, "pause"),
            members: members.iter().filter_map(listed).collect(),
        })
    }

    pub(super) fn leader(&self) -> Option<&Listed> {
        self.members.iter().find(|member| member.rank != Rank::Follower)
    }
}

fn listed(value: &Value) -> Option<Listed> {
    let host = text_of(value, "host");
    // PostgreSQL's own port, where none is said.
    let port = value.get("port").map_or(Some(5432), |port| number(port)?.try_into().ok());
    Some(Listed {
        name: text_of(value, "name")?,
        place: host.zip(port).map(|(host, port)| Upstream { host, port }),
        api: text_of(value, "api_url"),
        rank: match value.get("role").and_then(Value::as_str).unwrap_or_default() {
            "leader" | "master" | "primary" => Rank::Leader,
            "standby_leader" => Rank::StandbyLeader,
            _ => Rank::Follower,
        },
    })
}

impl SelfAnswer {
    /// Reads the answer to `/patroni` and the like.
    ///
    /// # Errors
    /// What it is instead, in words.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let value = object(text)?;
        let own = value.get("patroni").filter(|own| own.is_object());
        let role = value.get("role").and_then(Value::as_str);
        let (Some(own), Some(role)) = (own, role) else {
            return Err(format!("its answer is none of Patroni's: it has no role ({})", beginning(text)));
        };
        let started = value.get("postmaster_start_time").and_then(Value::as_str);
        Ok(SelfAnswer {
            is_primary: matches!(role, "master" | "primary" | "leader"),
            started: started.and_then(microseconds),
            system_identifier: value.get("database_system_identifier").and_then(number),
            version: own.get("version").and_then(Value::as_str).and_then(Version::read),
            scope: text_of(own, "scope"),
            name: text_of(own, "name"),
            paused: is_set(&value, "pause"),
            unlocked: is_set(&value, "cluster_unlocked"),
            failsafe: is_set(&value, "failsafe_mode_is_active"),
        })
    }
}

/// The `ttl` of `/config`, in seconds.
pub(super) fn ttl(text: &str) -> Option<u64> {
    number(object(text).ok()?.get("ttl")?)
}

fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        _ if text.trim_start().starts_with('<') => Err("what answers is a web page, not Patroni".into()),
        _ => Err(format!("its answer is no JSON object, so it is not Patroni's ({})", beginning(text))),
    }
}

fn beginning(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None if words.is_empty() => "it is empty".into(),
        None => words,
    }
}

fn text_of(value: &Value, key: &str) -> Option<Arc<str>> {
    value.get(key)?.as_str().filter(|text| !text.is_empty()).map(Arc::from)
}

fn is_set(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// A number, whether or not it is written as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// `2026-11-21 19:36:45.178900+00:00` in microseconds since 1970.
fn microseconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, sign, zone) = match time.find(['+', '-', 'Z']) {
        None => (time, 1, ""),
        Some(at) => (&time[..at], if time[at..].starts_with('-') { -1 } else { 1 }, &time[at + 1..]),
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let seconds = days_since_1970(year, month, day)? * 86_400 + clock_seconds(clock)? - sign * clock_seconds(zone)?;
    Some(seconds * 1_000_000 + micros)
}

/// `19:36:45`, `05:30` or nothing, in seconds.
fn clock_seconds(text: &str) -> Option<i64> {
    let units = text.split(':').filter(|part| !part.is_empty()).zip([3600, 60, 1]);
    units.map(|(part, unit)| part.parse::<i64>().ok().map(|n| n * unit)).sum()
}

/// By counting from a March, so that the leap day is the last one of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
