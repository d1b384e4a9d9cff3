use super::*;

fn problems(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    let found: Vec<String> = config.problems().into_iter().filter(|p| !p.contains("this build cannot send")).collect();
    found.join("\n")
}

#[test]
fn the_defaults_are_right_and_those_of_the_requirements() {
    let config = Config::default();
    assert_eq!(problems(|_| ()), "");
    assert_eq!(config.latency.limit().fire, 0.1);
    assert_eq!((config.error_rate.fire, config.pool.fire, config.hit_rate.fire), (0.05, 0.8, 0.7));
    assert_eq!((config.lag.limit().fire, config.replicas.minimum), (5.0, 2));
}

#[test]
fn a_resolve_on_the_wrong_side_is_refused() {
    let told = problems(|c| c.latency.fire = Duration::from_millis(50));
    assert!(told.contains("alerts.latency.resolve = \"80ms\" is not below alerts.latency.fire = \"50ms\""), "{told}");
    assert!(told.contains("write resolve = \"40ms\""), "{told}");
    assert!(problems(|c| c.pool.resolve = 0.8).contains("alerts.pool.resolve = 0.8 is not below"));
    let told = problems(|c| c.hit_rate.resolve = 0.6);
    assert!(
        told.contains("alerts.hit_rate.resolve = 0.6 is not above") && told.contains("write resolve = 0.76"),
        "{told}"
    );
    assert!(problems(|c| c.error_rate.fire = 5.0).contains("alerts.error_rate.fire = 5: write a share"));
}

#[test]
fn times_that_make_no_sense_are_refused() {
    for rule in [
        "latency",
        "error_rate",
        "pool",
        "lag",
        "unreached",
        "hit_rate",
        "node",
        "replicas",
        "primary",
        "stray",
        "redis",
        "journal",
    ] {
        let zero = format!("{rule}.for = \"0s\"");
        let config: Config = toml::from_str(&zero).unwrap();
        assert!(config.problems().iter().any(|p| p.contains(&zero)), "{rule}");
    }
    assert!(problems(|c| c.interval = Duration::ZERO).contains("alerts.interval = \"0s\": write \"50ms\""));
    assert!(problems(|c| c.hold = Duration::ZERO).contains("alerts.hold"));
    assert!(problems(|c| c.failover.shown = Duration::ZERO).contains("alerts.failover.shown"));
}

#[test]
fn numbers_and_names_are_checked() {
    assert!(problems(|c| c.off = vec!["latncy".into()]).contains("alerts.off = \"latncy\": there is no such rule"));
    assert!(problems(|c| c.per_hour = 1).contains("write at least 2"));
    assert!(problems(|c| c.queue = 0).contains("alerts.queue"));
    assert!(problems(|c| c.minimum_calls = 0).contains("alerts.minimum_calls"));
    assert!(problems(|c| c.replicas.minimum = 0).contains("alerts.replicas.minimum"));
    assert!(problems(|c| c.source = " ".into()).contains("alerts.source"));
}

#[test]
fn channels_are_checked_without_quoting_secrets() {
    let mail = |from: &str, to: &str| {
        problems(|c| {
            c.email.host = "mail".into();
            (c.email.from, c.email.to) = (from.into(), vec![to.into()]);
        })
    };
    assert_eq!(mail("Alerts <a@example.com>", "b@example.com"), "");
    for wrong in ["nobody", "a@", "@b", "a b@c", "a@b\r\nBcc: x@y", "<a@b> c", ""] {
        assert!(mail("a@b.c", wrong).contains("is no address"), "{wrong:?}");
        assert!(mail(wrong, "a@b.c").contains("alerts.email.from"), "{wrong:?}");
    }
    let clear = problems(|c| {
        c.email.host = "mail.example.com".into();
        (c.email.from, c.email.to) = ("a@b.c".into(), vec!["a@b.c".into()]);
        (c.email.user, c.email.password, c.email.tls) = ("u".into(), "Sentinel".into(), Tls::None);
    });
    assert!(clear.contains("in clear") && !clear.contains("Sentinel"), "{clear}");
    for wrong in ["hooks.slack.com/Sentinel", "ftp://Sentinel", "https:///Sentinel", "https://h/Senti nel"] {
        let told = problems(|c| c.slack.url = wrong.into());
        assert!(told.contains("alerts.slack.url") && !told.contains("Senti"), "{told}");
        assert!(problems(|c| c.webhook.url = wrong.into()).contains("alerts.webhook.url"));
    }
    let user = problems(|c| c.webhook.url = "https://Sentinel:x@example.com/".into());
    assert!(user.contains("holds a user") && !user.contains("Sentinel"), "{user}");
    let told = problems(|c| c.pagerduty.routing_key = "Sentinel key".into());
    assert!(told.contains("alerts.pagerduty.routing_key") && !told.contains("Sentinel"), "{told}");
    assert!(problems(|c| c.webhook.secret = "s".into()).contains("signs nothing"));
}

#[test]
fn a_rule_keeps_its_other_numbers_when_one_is_set() {
    let config: Config = toml::from_str("hit_rate.fire = 0.5\nlatency.for = \"3s\"").unwrap();
    assert_eq!((config.hit_rate.fire, config.hit_rate.resolve), (0.5, 0.75));
    assert_eq!((config.latency.limit().fire, config.timing(Rule::Latency).lasting), (0.1, Duration::from_secs(3)));
}
