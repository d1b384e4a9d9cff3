//! Settings from `dbopt.toml` and the environment; every mistake is named with its place.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use toml::Table;

use super::Config;
use crate::error::ConfigError;
use crate::runtime::config_error;

const PREFIX: &str = "DBOPT_";

/// Variables with the prefix that are no settings: where the file is, and what the tools of the local cluster read.
const OTHERS: [&str; 6] =
    ["DBOPT_ADMIN_TOKEN", "DBOPT_ADMIN_URL", "DBOPT_CONFIG", "DBOPT_PG_BIN", "DBOPT_REDIS_SERVER", "DBOPT_DEV_DIR"];

impl Config {
    /// Settings from the file that `DBOPT_CONFIG` names, or `dbopt.toml` where it exists, then from `DBOPT_*` variables, which win:
    /// `DBOPT_POOL_MAX=30` sets `pool.max`, `DBOPT_DATABASE_REPLICAS` takes several URLs with commas between them.
    ///
    /// # Errors
    /// For a file that cannot be read, an unknown key or variable, a value of the wrong kind or without its unit, and numbers that
    /// contradict each other; each with its place and what to write instead.
    pub fn load() -> Result<Config, ConfigError> {
        let named = std::env::var("DBOPT_CONFIG").ok();
        let path = named.as_deref().unwrap_or("dbopt.toml");
        let text = match std::fs::read_to_string(Path::new(path)) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => String::new(),
            Err(e) => return Err(config_error(format!("{path} cannot be read: {e}"))),
        };
        let variables = std::env::vars_os().filter_map(|(k, v)| {
            let name = k.into_string().ok()?;
            Some((name, v.to_string_lossy().into_owned()))
        });
        Config::from_sources(path, &text, variables)
    }

    /// Settings from the text of a TOML file alone.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        Config::from_sources("dbopt.toml", text, std::iter::empty())
    }

    /// Settings from the text of a TOML file called `file`, then from `variables`.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn from_sources(
        file: &str,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text).map_err(|e| config_error(explain(file, text, &e)))?;
        let mut table: Table = text.parse().map_err(|e| config_error(explain(file, text, &e)))?;
        let known = keys();
        let mut problems = Vec::new();
        let mut set_by = Vec::new();
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()))
            .collect();
        variables.sort();
        for (name, value) in variables {
            let Some((key, kind)) = known.iter().find(|(key, _)| variable(key) == name) else {
                let names = known.iter().map(|(key, _)| variable(key));
                problems.push(format!("{name}: no setting has that variable{}", nearest(&name, names)));
                continue;
            };
            let mut changed = table.clone();
            insert(&mut changed, key, typed(kind, &value));
            match Config::deserialize(changed.clone()) {
                Ok(valid) => (config, table) = (valid, changed),
                Err(e) => problems.push(format!("{name} (for {key}): {}", e.message())),
            }
            set_by.push((key.clone(), name));
        }
        problems.extend(config.problems().into_iter().map(|p| locate(file, text, &set_by, p)));
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }
}

/// Every setting that a variable can set, as `section.key`, with a value of its kind.
fn keys() -> Vec<(String, Value)> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut keys = Vec::new();
    for (section, settings) in defaults.as_object().into_iter().flatten() {
        gather(section, settings, &mut keys);
    }
    keys
}

fn gather(section: &str, settings: &Value, keys: &mut Vec<(String, Value)>) {
    for (key, value) in settings.as_object().into_iter().flatten() {
        let key = format!("{section}.{key}");
        if value.is_object() {
            gather(&key, value, keys);
        // A list of tables has no form that fits in a variable.
        } else if key != "database.nodes" {
            keys.push((key, value.clone()));
        }
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn typed(kind: &Value, text: &str) -> toml::Value {
    let text = text.trim();
    match kind {
        Value::Array(_) => text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(|item| toml::Value::String(item.to_owned()))
            .collect::<Vec<_>>()
            .into(),
        Value::Bool(_) => text.parse().map(toml::Value::Boolean).unwrap_or_else(|_| text.to_owned().into()),
        Value::Number(_) => text
            .parse::<i64>()
            .map(toml::Value::Integer)
            .or_else(|_| text.parse::<f64>().map(toml::Value::Float))
            .unwrap_or_else(|_| text.to_owned().into()),
        _ => text.to_owned().into(),
    }
}

fn insert(table: &mut Table, key: &str, value: toml::Value) {
    let Some((section, key)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let settings = table.entry(section).or_insert_with(|| Table::new().into());
    if let Some(settings) = settings.as_table_mut() {
        insert(settings, key, value);
    }
}

/// The parser's complaint with its line, the key, and the nearest key that exists.
fn explain(file: &str, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count());
    let place = line.map_or_else(|| file.to_owned(), |n| format!("{file} line {}", n + 1));
    let shown = line.and_then(|n| text.lines().nth(n)).map_or("", str::trim);
    // A line with a URL may hold a password: it is described, not shown.
    let shown = if shown.contains("://") { "a line with a URL" } else { shown };
    // So may one with a key or a password, which the parser's own words repeat if it is no text.
    if ["password", "routing_key", "secret"].iter().any(|key| shown.trim_start_matches('"').starts_with(key)) {
        return format!(
            "{place}: a secret is not written as it should be: put it into quotes, one line, such as key = \"…\""
        );
    }
    let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    let hint = unknown
        .map_or(String::new(), |(wrong, rest)| nearest(wrong, rest.split('`').skip(1).step_by(2).map(str::to_owned)));
    let quote = if shown.is_empty() { String::new() } else { format!(" ({shown})") };
    format!("{place}{quote}: {}{hint}", error.message())
}

/// Puts the place of a setting in front of a problem that begins with its key.
fn locate(file: &str, text: &str, set_by: &[(String, String)], problem: String) -> String {
    let key = problem.split([' ', ':']).next().unwrap_or_default();
    if let Some((_, variable)) = set_by.iter().rev().find(|(set, _)| set == key) {
        return format!("{variable}: {problem}");
    }
    match line_of(text, key) {
        Some(line) => format!("{file} line {line}: {problem}"),
        None => problem,
    }
}

fn line_of(text: &str, key: &str) -> Option<usize> {
    let (section, name) = key.rsplit_once('.')?;
    let mut current = "";
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            current = header.trim_end_matches(']').trim();
        } else if current == section && line.split('=').next().map(str::trim) == Some(name) {
            return Some(i + 1);
        }
    }
    None
}

fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> String {
    names
        .map(|name| (distance(wrong, &name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().div_ceil(3))
        .map_or(String::new(), |(_, name)| format!("; did you mean `{name}`?"))
}

/// The number of letters to insert, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const FILE: &str = "[database]\nurl = \"postgres://u:hunter2@db1/x\"\n\n[pool]\n";

    fn refused(text: &str, variables: &[(&str, &str)]) -> String {
        let variables = variables.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Config::from_sources("dbopt.toml", text, variables).unwrap_err().to_string()
    }

    #[test]
    fn every_setting_can_be_set_by_its_variable() {
        for (key, kind) in keys() {
            let text = match &kind {
                Value::Array(_) => "postgres://a/x,postgres://b/x".to_owned(),
                Value::Number(n) if n.is_f64() => "0.21".into(),
                Value::Number(_) => "7".into(),
                Value::Bool(default) => (!default).to_string(),
                _ if key == "database.url" => "postgres://c/x".into(),
                _ if key == "routing.balance" => "round_robin".into(),
                _ if key == "cache.policy" => "scan_resistant".into(),
                _ if ["limit.per_user", "limit.global", "limit.database"].contains(&key.as_str()) => "9/s".into(),
                _ if key == "limit.precision" => "exact".into(),
                _ if key == "limit.when_redis_is_lost" => "closed".into(),
                _ if key == "alerts.email.tls" => "none".into(),
                _ if key == "cluster.mode" => "supervised".into(),
                _ if key == "cluster.host.source" => "sql".into(),
                _ if key == "schema.environment" => "staging".into(),
                _ => "9s".into(),
            };
            let name = variable(&key);
            // `pool.max = 7` contradicts `pool.min = 10`, and the like: here it matters only that the value arrives.
            let mut table = Table::new();
            insert(&mut table, &key, typed(&kind, &text));
            let config = Config::deserialize(table).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_ne!(config, Config::default(), "{name} changes nothing");
        }
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let variables =
            [("DBOPT_POOL_MAX".to_owned(), "33".to_owned()), ("DBOPT_POOL_IDLE_TIMEOUT".into(), "2m".into())];
        let config = Config::from_sources("f", &format!("{FILE}max = 20"), variables).unwrap();
        assert_eq!((config.pool.max, config.pool.idle_timeout), (33, Duration::from_secs(120)));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_nearest_one() {
        let error = refused(&format!("{FILE}maxx = 3"), &[]);
        assert!(error.contains("dbopt.toml line 5") && error.contains("did you mean `max`?"), "{error}");
    }

    #[test]
    fn an_unknown_section_is_refused() {
        assert!(refused("[pol]\nmax = 3", &[]).contains("did you mean `pool`?"));
    }

    #[test]
    fn a_time_without_unit_is_refused() {
        let error = refused(&format!("{FILE}idle_timeout = 300"), &[]);
        assert!(error.contains("line 5") && error.contains("\"30s\""), "{error}");
        assert!(refused(&format!("{FILE}idle_timeout = \"300\""), &[]).contains("with its unit"));
    }

    #[test]
    fn contradictions_carry_their_line_or_variable() {
        assert!(refused(&format!("{FILE}min = 60"), &[]).contains("dbopt.toml line 5: pool.min = 60"));
        assert!(refused(FILE, &[("DBOPT_POOL_MIN", "60")]).contains("DBOPT_POOL_MIN: pool.min = 60"));
    }

    #[test]
    fn an_unknown_variable_is_refused_but_those_of_the_tools_are_not() {
        assert!(refused(FILE, &[("DBOPT_POOL_MAXX", "3")]).contains("did you mean `DBOPT_POOL_MAX`?"));
        let tool = [("DBOPT_PG_BIN".to_owned(), "/x".to_owned())];
        assert!(Config::from_sources("f", FILE, tool).is_ok());
    }

    #[test]
    fn a_wrong_variable_names_itself() {
        let error = refused(FILE, &[("DBOPT_POOL_MAX", "many"), ("DBOPT_CALL_TIMEOUT", "5")]);
        assert!(error.contains("DBOPT_POOL_MAX (for pool.max)") && error.contains("DBOPT_CALL_TIMEOUT"), "{error}");
    }

    /// The file that people copy names every variable with its default, and no other.
    #[test]
    fn the_example_file_is_complete_and_right() {
        let text = include_str!("../../../../.env.example");
        let pairs: Vec<(&str, &str)> =
            text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once('=')).collect();
        let named: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        let wanted: Vec<String> = keys().iter().map(|(key, _)| variable(key)).collect();
        for name in &wanted {
            assert!(named.contains(&name.as_str()), "{name} is missing");
        }
        assert_eq!(named.len(), wanted.len());
        let given = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let mut config = Config::from_sources("f", "", given).unwrap();
        config.database = Default::default();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn nothing_secret_is_quoted() {
        for text in ["[alerts.email]\npassword = 471100", "[alerts.webhook]\nsecret = 471100 x"] {
            assert!(!refused(text, &[]).contains("471100"), "{}", refused(text, &[]));
        }
        let broken = "[database]\nurl = \"postgres://u:hunter2@db1/x\" oops";
        assert!(!refused(broken, &[]).contains("hunter2"));
        let config = Config::from_toml(FILE).unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
