//! Durations as they are written in options: `"500ms"`, `"2s"`, `"1h30m"`.

use std::time::Duration;

use crate::problem::Problem;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// One or more whole numbers, each with a unit; the sum must be more than zero.
pub(crate) fn parse(text: &str) -> Result<Duration, Problem> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(Problem::new("a duration cannot be empty", "2s"));
    }
    while !rest.is_empty() {
        let (number, unit, tail) = take(rest);
        let Ok(count) = number.parse::<u64>() else {
            return Err(not_a_number(text, number));
        };
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(text, number, unit));
        };
        total = count
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| Problem::new(format!("\"{text}\" is too long"), "1d"))?;
        rest = tail.trim_start();
    }
    match total {
        0 => Err(Problem::new("a duration must be more than zero", "2s")),
        millis => Ok(Duration::from_millis(millis)),
    }
}

/// Splits off the first number (with anything that could be meant as one) and its unit.
fn take(text: &str) -> (&str, &str, &str) {
    let end = text.find(|c: char| c.is_alphabetic() || c.is_whitespace()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    (number, unit, rest)
}

fn not_a_number(text: &str, number: &str) -> Problem {
    if number.contains('.') {
        return Problem::new(format!("\"{text}\": only whole numbers, in a smaller unit if need be"), "1500ms");
    }
    Problem::new(format!("\"{text}\" is not a duration"), "2s")
}

fn unknown_unit(text: &str, number: &str, unit: &str) -> Problem {
    if unit.is_empty() {
        return Problem::new(format!("\"{text}\" has no unit (ms, s, m, h or d)"), format!("{number}s"));
    }
    let meant = match unit.to_lowercase().as_str() {
        "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        _ => "s",
    };
    Problem::new(format!("\"{unit}\" is not a unit (ms, s, m, h or d)"), format!("{number}{meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_sums() {
        for (text, millis) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            (" 1m 30 s ", 90_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        for (text, instead) in [
            ("", "2s"),
            ("2", "2s"),
            ("0s", "2s"),
            ("1.5s", "1500ms"),
            ("5min", "5m"),
            ("5 minutes", "5m"),
            ("2S", "2s"),
            ("3H", "3h"),
            ("soon", "2s"),
            ("-2s", "2s"),
            ("99999999999999999999s", "2s"),
            ("18446744073709551615d", "1d"),
        ] {
            assert_eq!(parse(text).map_err(|problem| problem.instead), Err(instead.to_owned()), "{text}");
        }
    }
}
