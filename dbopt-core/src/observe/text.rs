//! The families with a sample for each method, node and lane, written as text. They are nearly all of it, and their labels are
//! written once for each series instead of once for each line.

use std::fmt::{self, Write as _};

use super::histogram::{BOUNDS, HistogramCounts};

/// Where they are written.
pub(super) struct Text<'a> {
    text: &'a mut String,
    /// The bounds of histograms as they stand in the text.
    bounds: [String; BOUNDS.len() + 1],
}

/// Labels as they stand in the text, without their braces.
pub(super) fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (i, (name, value)) in pairs.iter().enumerate() {
        text.push_str(if i > 0 { "," } else { "" });
        text.push_str(name);
        text.push_str("=\"");
        for letter in value.chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                '\n' => text.push_str("\\n"),
                _ => text.push(letter),
            }
        }
        text.push('"');
    }
    text
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a mut String) -> Self {
        let bound = |i| BOUNDS.get(i).map_or_else(|| "+Inf".to_owned(), |bound: &f64| format!("{bound:?}"));
        Text { text, bounds: std::array::from_fn(bound) }
    }

    /// A histogram of times; `name` ends with its unit.
    pub(super) fn seconds<'s>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = (&'s str, &'s HistogramCounts)>,
    ) -> fmt::Result {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} histogram\n# UNIT {name} seconds")?;
        for (labels, counts) in series {
            writeln!(self.text, "{name}_sum{{{labels}}} {:?}", counts.sum)?;
            writeln!(self.text, "{name}_count{{{labels}}} {}", counts.count())?;
            let mut below = 0;
            for (bound, count) in self.bounds.iter().zip(counts.buckets) {
                below += count;
                for part in [name, "_bucket{le=\"", bound, "\",", labels, "} "] {
                    self.text.push_str(part);
                }
                writeln!(self.text, "{below}")?;
            }
        }
        Ok(())
    }

    /// A counter.
    pub(super) fn counter<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} counter")?;
        for (labels, count) in samples {
            writeln!(self.text, "{name}_total{{{}}} {count}", labels.as_ref())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_label_ends_it_nowhere() {
        assert_eq!(labels(&[("method", "a\"b\\c\nd"), ("node", "x")]), r#"method="a\"b\\c\nd",node="x""#);
    }
}
