//! Rates as they are written in options: `"100/min"`, `"5/s"`.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::problem::Problem;

/// So many calls in each window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: NonZeroU32,
    pub(crate) per: Duration,
}

pub(crate) fn parse(text: &str) -> Result<Rate, Problem> {
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
    let Some(number) = NonZeroU32::new(number) else {
        return Err(Problem::new("a rate must be more than zero", format!("100/{unit}")));
    };
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => {
            return Err(Problem::new(
                format!("\"{unit}\" is not a window (s, min, h or d)"),
                format!("{count}/{}", meant(unit)),
            ));
        }
    };
    Ok(Rate { count: number, per: Duration::from_secs(seconds) })
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
