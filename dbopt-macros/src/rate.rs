//! Rates as they are written in options: `"100/min"`, `"5/s, 100/min"`; as in the settings.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::problem::Problem;

/// So many calls in each window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) per: Duration,
}

/// The largest count: more is no limit.
const MAX_COUNT: u32 = 1_000_000_000;

/// One or more rates that hold together, the shortest window first.
pub(crate) fn parse_all(text: &str) -> Result<Vec<Rate>, Problem> {
    let mut rates = text.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    rates.sort_by_key(|rate| rate.per);
    for pair in rates.windows(2) {
        contradiction(pair[0], pair[1])?;
    }
    Ok(rates)
}

/// Two windows of which one never decides anything.
fn contradiction(short: Rate, long: Rate) -> Result<(), Problem> {
    if short.per == long.per {
        let smaller = if short.count < long.count { short } else { long };
        return Err(Problem::new(format!("{short} and {long} limit the same window"), smaller.to_string()));
    }
    if long.count <= short.count {
        return Err(Problem::new(format!("{short} never decides anything beside {long}"), long.to_string()));
    }
    let most = u64::from(short.count.get()) * (long.per.as_secs() / short.per.as_secs().max(1));
    if u64::from(long.count.get()) >= most {
        let what = format!("{long} never decides anything beside {short}, which lets at most {most} pass in that time");
        return Err(Problem::new(what, short.to_string()));
    }
    Ok(())
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs()).map_or("s", |(unit, _)| unit);
        write!(f, "{}/{unit}", self.count)
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];

fn parse(text: &str) -> Result<Rate, Problem> {
    let text = text.trim();
    let Some((count, unit)) = text.split_once('/') else {
        let count = if text.trim().parse::<NonZeroU32>().is_ok() { text.trim() } else { "100" };
        return Err(Problem::new(
            format!("\"{text}\" is not a rate: it takes a number, `/` and s, min, h or d"),
            format!("{count}/min"),
        ));
    };
    let (count, unit) = (count.trim(), unit.trim());
    let Ok(number) = count.parse::<u32>() else {
        return Err(Problem::new(format!("\"{count}\" is not a number of calls"), format!("100/{unit}")));
    };
    if number > MAX_COUNT {
        return Err(Problem::new(format!("{number} is more than a limit can be, {MAX_COUNT}"), format!("100/{unit}")));
    }
    let Some(number) = NonZeroU32::new(number) else {
        return Err(Problem::new("a rate must be more than zero", format!("100/{unit}")));
    };
    let Some((_, seconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Problem::new(
            format!("\"{unit}\" is not a window (s, min, h or d)"),
            format!("{count}/{}", meant(unit)),
        ));
    };
    Ok(Rate { count: number, per: Duration::from_secs(*seconds) })
}

fn meant(unit: &str) -> &'static str {
    match unit.to_lowercase().as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "h" | "hr" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => "min",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows() {
        for (text, count, seconds) in
            [("100/min", 100, 60), ("5/s", 5, 1), ("1000 / h", 1000, 3_600), ("1/d", 1, 86_400)]
        {
            let rate = parse(text).unwrap();
            assert_eq!((rate.count.get(), rate.per), (count, Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn several_windows_hold_together() {
        let shown = |text: &str| parse_all(text).map(|all| all.iter().map(Rate::to_string).collect::<Vec<_>>());
        assert_eq!(shown("100/min, 5/s").unwrap(), ["5/s", "100/min"]);
        for (text, instead) in
            [("5/s, 3/min", "3/min"), ("5/s, 300/min", "5/s"), ("5/s, 7/s", "5/s"), ("5/s,", "100/min")]
        {
            assert_eq!(parse_all(text).map_err(|problem| problem.instead), Err(instead.to_owned()), "{text}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        for (text, instead) in [
            ("100", "100/min"),
            ("many", "100/min"),
            ("0/s", "100/s"),
            ("-1/s", "100/s"),
            ("5/second", "5/s"),
            ("5/m", "5/min"),
            ("5/Hour", "5/h"),
            ("5/", "5/min"),
        ] {
            assert_eq!(parse(text).map_err(|problem| problem.instead), Err(instead.to_owned()), "{text}");
        }
    }
}
