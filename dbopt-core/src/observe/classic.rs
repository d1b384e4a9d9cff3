//! The older text format of Prometheus (0.0.4), made of the OpenMetrics text. Pure.

/// The same metrics for readers that do not know OpenMetrics: counters are declared under the name of their samples, and there
/// are neither units nor an end mark.
pub fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        match line.strip_prefix("# ").map(|comment| comment.splitn(3, ' ').collect::<Vec<_>>()).as_deref() {
            // It comes before the type, which decides under which name it is told.
            Some(["HELP", _, words]) => help = Some((*words).to_owned()),
            Some(["TYPE", family, kind]) => {
                let total = if *kind == "counter" { "_total" } else { "" };
                if let Some(help) = help.take() {
                    text.push_str(&format!("# HELP {family}{total} {help}\n"));
                }
                text.push_str(&format!("# TYPE {family}{total} {kind}\n"));
            }
            Some(["UNIT", ..] | ["EOF"]) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn counters_are_declared_under_the_name_of_their_samples() {
        let openmetrics = "# HELP calls Calls.\n# TYPE calls counter\ncalls_total{method=\"a\"} 1\n\
                           # HELP lag_seconds How far.\n# TYPE lag_seconds gauge\n# UNIT lag_seconds seconds\nlag_seconds 0.5\n# EOF\n";
        assert_eq!(
            classic(openmetrics),
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{method=\"a\"} 1\n\
             # HELP lag_seconds How far.\n# TYPE lag_seconds gauge\nlag_seconds 0.5\n"
        );
    }
}
