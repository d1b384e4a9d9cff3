use super::*;
use proptest::prelude::*;

fn node(name: &str, condition: NodeCondition, lag: Option<f64>) -> NodeReading {
    NodeReading { name: name.into(), condition, cause: None, lag, unreached: None, paused: false }
}

fn well() -> Readings {
    use NodeCondition::Fine;
    Readings {
        nodes: vec![node("db1", Fine, Some(0.0)), node("db2", Fine, Some(0.1)), node("db3", Fine, Some(0.1))],
        primary: Some("db1".into()),
        in_use: 1,
        max: 50,
        redis_up: Some(true),
        ..Readings::default()
    }
}

fn busy() -> Traffic {
    Traffic { calls: 1000, errors: 1, timed: 1000, p99: Some(0.02), lookups: 1000, hits: 900 }
}

fn old() -> Past {
    Past { age: Duration::from_secs(3600), ..Past::default() }
}

fn bad_with(config: &Config, readings: &Readings, traffic: &Traffic, past: &Past) -> Vec<String> {
    let bad = judge(config, readings, traffic, past).into_iter().filter(|c| c.verdict == Verdict::Bad);
    bad.map(|c| c.key.1.map_or(c.key.0.name().into(), |subject| format!("{} {subject}", c.key.0.name()))).collect()
}

fn bad(readings: &Readings, traffic: &Traffic) -> Vec<String> {
    bad_with(&Config::default(), readings, traffic, &old())
}

fn changed(change: impl FnOnce(&mut Readings)) -> Vec<String> {
    let mut readings = well();
    change(&mut readings);
    bad(&readings, &busy())
}

#[test]
fn all_is_well() {
    assert!(bad(&well(), &busy()).is_empty());
    assert!(judge(&Config::default(), &well(), &busy(), &old()).iter().all(|c| c.verdict == Verdict::Good));
}

#[test]
fn each_limit_of_the_requirement_is_kept_on_both_sides() {
    let of = |traffic| bad(&well(), &traffic);
    assert!(of(Traffic { p99: Some(0.1), ..busy() }).is_empty());
    assert_eq!(of(Traffic { p99: Some(0.101), ..busy() }), ["latency"]);
    assert!(of(Traffic { errors: 50, ..busy() }).is_empty());
    assert_eq!(of(Traffic { errors: 51, ..busy() }), ["error_rate"]);
    assert!(of(Traffic { hits: 700, ..busy() }).is_empty());
    assert_eq!(of(Traffic { hits: 699, ..busy() }), ["hit_rate"]);
    assert!(changed(|r| r.in_use = 40).is_empty());
    assert_eq!(changed(|r| r.in_use = 41), ["pool"]);
    assert!(changed(|r| r.nodes[1].lag = Some(5.0)).is_empty());
    assert_eq!(changed(|r| r.nodes[1].lag = Some(5.1)), ["lag db2"]);
    assert_eq!(changed(|r| r.redis_up = Some(false)), ["redis"]);
    assert_eq!(changed(|r| r.journal = 3), ["journal"]);
    assert_eq!(changed(|r| r.primary = None), ["primary"]);
}

#[test]
fn nodes_are_told_by_what_is_wrong_with_them() {
    let with = |condition| changed(|r| r.nodes[1].condition = condition);
    assert_eq!(with(NodeCondition::Unreachable), ["node db2", "replicas"]);
    assert_eq!(with(NodeCondition::Disconnected), ["node db2", "replicas"]);
    assert_eq!(with(NodeCondition::Foreign), ["stray db2", "replicas"]);
    assert_eq!(with(NodeCondition::SecondPrimary), ["stray db2", "replicas"]);
    assert_eq!(with(NodeCondition::Diverged), ["node db2", "replicas"]);
    assert_eq!(with(NodeCondition::Duplicate), ["stray db2", "replicas"]);
    assert_eq!(with(NodeCondition::Lagging), ["replicas"], "that it lags is another rule's business");
    assert!(with(NodeCondition::Unknown).is_empty(), "not asked yet is not lost");
}

#[test]
fn a_node_that_answers_again_is_not_well_before_it_is_trusted() {
    let mut readings = well();
    readings.nodes[1].condition = NodeCondition::Returning;
    let all = judge(&Config::default(), &readings, &busy(), &old());
    let verdict = all.iter().find(|c| c.key == (Rule::Node, Some("db2".into()))).unwrap().verdict;
    assert_eq!(verdict, Verdict::Between, "or a node that flaps would be told each time");
}

#[test]
fn an_unknown_lag_is_neither_good_nor_bad() {
    let mut readings = well();
    readings.nodes[1].lag = None;
    let all = judge(&Config::default(), &readings, &busy(), &old());
    assert_eq!(all.iter().find(|c| c.key == (Rule::Lag, Some("db2".into()))).unwrap().verdict, Verdict::Between);
}

#[test]
fn the_only_server_is_not_expected_to_have_replicas() {
    assert!(changed(|r| r.nodes.truncate(1)).is_empty());
    assert_eq!(changed(|r| r.nodes.truncate(2)), ["replicas"]);
}

#[test]
fn a_failover_is_told_with_its_timeline() {
    let past = Past {
        failovers: vec![Succession { from: "db1".into(), to: "db2".into(), timeline: Some(7), measured: None }],
        ..old()
    };
    assert_eq!(bad_with(&Config::default(), &well(), &busy(), &past), ["failover db2, timeline 7"]);
}

#[test]
fn a_rule_that_is_off_says_nothing() {
    let config = Config { off: vec!["pool".into()], ..Config::default() };
    let readings = Readings { in_use: 50, ..well() };
    assert!(bad_with(&config, &readings, &busy(), &old()).is_empty());
}

proptest! {
    /// Few calls, none at all, or a process that has just started: no rate alerts, whatever it is.
    #[test]
    fn little_traffic_and_a_start_never_alert(calls in 0u64..100, errors in 0u64..100, age in 0u64..120, p99 in 0.0f64..99.0) {
        let few = Traffic { calls, errors: errors.min(calls), timed: calls, p99: Some(p99), lookups: calls, hits: 0 };
        prop_assert!(bad(&well(), &few).is_empty());
        let young = Past { age: Duration::from_secs(age), ..Past::default() };
        let many = Traffic { calls: 1000 + calls, errors: 1000, timed: 1000, p99: Some(p99), lookups: 1000, hits: 0 };
        prop_assert!(bad_with(&Config::default(), &well(), &many, &young).is_empty());
    }
}

#[test]
fn writes_that_do_not_reach_a_replica_say_what_to_do() {
    let told = |condition, paused| {
        let node = NodeReading { unreached: Some(42.0), paused, ..node("db2", condition, None) };
        let all = nodes(&Config::default(), &Readings::default(), &node);
        all.into_iter().find(|c| c.key.0 == Rule::Unreached).map(|c| (c.verdict, c.summary)).unwrap()
    };
    for (condition, paused, wanted) in [
        (NodeCondition::Fine, true, "pg_wal_replay_resume()"),
        (NodeCondition::Unreachable, false, "start it"),
        (NodeCondition::Disconnected, false, "primary_conninfo"),
        (NodeCondition::Diverged, false, "pg_rewind"),
        (NodeCondition::Lagging, false, "a long query"),
    ] {
        let (verdict, text) = told(condition, paused);
        assert_eq!(verdict, Verdict::Bad);
        assert!(
            text.contains("writes have not reached db2 for 42.0 s (limit 30.0 s)") && text.contains(wanted),
            "{text}"
        );
    }
    let none = node("db2", NodeCondition::Fine, None);
    assert!(nodes(&Config::default(), &Readings::default(), &none).iter().all(|c| c.key.0 != Rule::Unreached));
}
