use super::*;

/// What is committed for people to copy is what the defaults say.
#[test]
fn the_rules_in_the_examples_are_those_of_the_defaults() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/monitoring/rules.yml");
    let wanted = rules(&Config::default(), None);
    if std::env::var_os("DBOPT_UPDATE").is_some() {
        std::fs::write(file, &wanted).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == wanted, "examples/monitoring/rules.yml is out of date: run this test with DBOPT_UPDATE=1");
}

#[test]
fn limits_times_and_names_follow_the_settings() {
    let mut config = Config { source: "it's".into(), off: vec!["hit_rate".into()], ..Config::default() };
    (config.latency.fire, config.latency.resolve) = (Duration::from_millis(250), Duration::from_millis(200));
    config.latency.lasting = Duration::from_secs(90);
    config.replicas.minimum = 7;
    config.window = Duration::from_millis(45_500);
    config.error_rate.application = true;
    let text = rules(&config, Some("a\"b"));
    for wanted in [
        "p99{job=\"a\\\"b\"} > 0.25\n",
        "p99{job=\"a\\\"b\"} >= 0.2 and on (job, instance) ALERTS{alertname=\"DboptLatency\"",
        "for: 90s",
        "kind=\"serving\"}) < 7 and",
        "[45500ms]",
        "source: 'it''s'",
        "dbopt_call_errors_total{job=\"a\\\"b\"}[",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    assert!(!text.contains("alert: DboptHitRate"));
}

#[test]
fn every_rule_has_its_severity_and_its_times() {
    let (config, text) = (Config::default(), rules(&Config::default(), None));
    for rule in Rule::ALL {
        let start = format!("- alert: {}\n", alert_name(rule));
        let body = text.split(&start).nth(1).unwrap_or_else(|| panic!("{start} in {text}"));
        let body = body.split("- alert").next().unwrap();
        let timing = config.timing(rule);
        assert!(body.contains(&format!("for: {}\n", time(timing.lasting))), "{body}");
        assert_eq!(body.contains(&format!("keep_firing_for: {}\n", time(timing.hold))), rule != Rule::Failover);
        assert!(body.contains(&format!("rule: {}\n          severity: {}\n", rule.name(), rule.severity().name())));
    }
    assert_eq!(text.matches("- alert: ").count(), Rule::ALL.len() + 1);
}
