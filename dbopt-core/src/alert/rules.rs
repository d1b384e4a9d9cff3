//! What each rule says of the readings. Pure.

use std::sync::Arc;
use std::time::Duration;

use super::config::{Config, Limit};
use super::readings::{Measured, NodeCondition, NodeReading, Readings, Traffic, loss_in_words};
use super::rule::Rule;
use super::state::{Condition, Verdict};

/// What only the past tells.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// How long this instance runs.
    pub age: Duration,
    /// The failovers of the last moments.
    pub failovers: Vec<Succession>,
}

/// That another node became the primary.
#[derive(Debug, Clone)]
pub struct Succession {
    /// The one before.
    pub from: Arc<str>,
    /// The one since.
    pub to: Arc<str>,
    /// Its timeline, where that is known.
    pub timeline: Option<u32>,
    /// How long it took and what it cost, where that was measured.
    pub measured: Option<Measured>,
}

/// What every watched rule says.
pub fn judge(config: &Config, now: &Readings, traffic: &Traffic, past: &Past) -> Vec<Condition> {
    let mut found = Vec::new();
    rates(config, now, traffic, past, &mut found);
    for node in &now.nodes {
        found.extend(nodes(config, now, node));
    }
    cluster(config, now, past, &mut found);
    caches(now, &mut found);
    found.retain(|condition| config.watches(condition.key.0));
    found
}

fn rates(config: &Config, now: &Readings, traffic: &Traffic, past: &Past, found: &mut Vec<Condition>) {
    // A rate of few, or of a start with empty pools and caches, says nothing: such an alert neither begins nor stays.
    let enough = |count: u64| past.age >= config.warm_up && count >= config.minimum_calls;
    let quiet = |rule| condition(rule, None, Verdict::Good, None, "too little traffic to judge".into());
    let percent = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;

    found.push(match traffic.p99.filter(|_| enough(traffic.timed)) {
        None => quiet(Rule::Latency),
        Some(p99) => {
            let limit = config.latency.limit();
            let text = format!("1 of 100 calls takes longer than {} (limit {})", time(p99), time(limit.fire));
            condition(Rule::Latency, None, rising(limit, p99), Some(p99), text)
        }
    });
    let errors = percent(traffic.errors, traffic.calls);
    found.push(match enough(traffic.calls) {
        false => quiet(Rule::ErrorRate),
        true => {
            let limit = config.error_rate.limit();
            let text = format!(
                "{} of calls fail (limit {}): {} of {} in the last {}",
                share(errors),
                share(limit.fire),
                traffic.errors,
                traffic.calls,
                humantime::format_duration(config.window)
            );
            condition(Rule::ErrorRate, None, rising(limit, errors), Some(errors), text)
        }
    });
    let (limit, used) = (config.pool.limit(), now.in_use as f64 / now.max.max(1) as f64);
    let text = format!("{} of {} connections are in use (limit {})", now.in_use, now.max, share(limit.fire));
    found.push(condition(Rule::Pool, None, rising(limit, used), Some(used), text));
    let hits = percent(traffic.hits, traffic.lookups);
    found.push(match enough(traffic.lookups) {
        false => quiet(Rule::HitRate),
        true => {
            let limit = config.hit_rate.limit();
            let text = format!("the cache answers {} of look-ups (limit {})", share(hits), share(limit.fire));
            condition(Rule::HitRate, None, falling(limit, hits), Some(hits), text)
        }
    });
}

fn nodes(config: &Config, now: &Readings, node: &NodeReading) -> Vec<Condition> {
    let name = &node.name;
    let why = node.cause.as_ref().map_or(String::new(), |cause| format!(": {cause}"));
    let of = |rule, verdict, value, text| condition(rule, Some(name), verdict, value, text);
    let (lost, stray) = match node.condition {
        NodeCondition::Unreachable => (Some(format!("{name} does not answer{why}")), None),
        NodeCondition::Disconnected => (Some(format!("{name} follows no primary: its data grow old{why}")), None),
        NodeCondition::Foreign => (None, Some(format!("{name} is of another cluster{why}"))),
        NodeCondition::SecondPrimary => (None, Some(format!("{name} is a primary that is not used{why}"))),
        NodeCondition::Diverged => (Some(format!("{name} has gone a way of its own{why}")), None),
        NodeCondition::Duplicate => (None, Some(format!("{name} is named twice{why}"))),
        NodeCondition::Fine | NodeCondition::Lagging | NodeCondition::Returning | NodeCondition::Unknown => {
            (None, None)
        }
    };
    // A node that comes and goes is not well each time that it comes.
    let open = matches!(node.condition, NodeCondition::Unknown | NodeCondition::Returning);
    let known = |good: Verdict| if open { Verdict::Between } else { good };
    let mut found = vec![match lost {
        Some(text) => of(Rule::Node, Verdict::Bad, None, text),
        None => of(Rule::Node, known(Verdict::Good), None, format!("{name} answers")),
    }];
    found.push(match stray {
        Some(text) => of(Rule::Stray, Verdict::Bad, None, text),
        // A stray that is switched off may be switched on again: silence is no sign that it is gone.
        None if node.condition == NodeCondition::Unreachable => {
            of(Rule::Stray, Verdict::Between, None, format!("{name} does not answer any more"))
        }
        None => of(Rule::Stray, known(Verdict::Good), None, format!("{name} is where it belongs")),
    });
    if now.primary.as_ref() != Some(name) {
        let limit = config.lag.limit();
        found.push(match node.lag {
            Some(lag) => {
                let text = format!("{name} is {} behind the primary (limit {})", time(lag), time(limit.fire));
                of(Rule::Lag, rising(limit, lag), Some(lag), text)
            }
            None => of(Rule::Lag, Verdict::Between, None, format!("how far {name} is behind is unknown")),
        });
    }
    if let Some(unreached) = node.unreached {
        let limit = config.unreached.limit();
        let text = format!(
            "writes have not reached {name} for {} (limit {}): {}{why}",
            time(unreached),
            time(limit.fire),
            remedy(node)
        );
        found.push(of(Rule::Unreached, rising(limit, unreached), Some(unreached), text));
    }
    found
}

/// What to do about a replica that writes do not reach.
fn remedy(node: &NodeReading) -> &'static str {
    match node.condition {
        _ if node.paused => "replaying was paused there, and goes on with SELECT pg_wal_replay_resume()",
        NodeCondition::Unreachable => {
            "start it, or, if it will not return, take its URL out and drop its replication slot, which keeps log for it"
        }
        NodeCondition::Disconnected => {
            "look at its primary_conninfo, at the network, and in its log; if log that it needs is gone, copy it anew"
        }
        NodeCondition::Diverged => "it needs pg_rewind or a new copy",
        _ => {
            "it answers and replays nothing: look for a long query there that holds replaying up, a slow disk or a network that is cut"
        }
    }
}

fn cluster(config: &Config, now: &Readings, past: &Past, found: &mut Vec<Condition>) {
    let fine = |node: &&NodeReading| node.condition == NodeCondition::Fine && now.primary.as_ref() != Some(&node.name);
    let (healthy, wanted) = (now.nodes.iter().filter(fine).count(), config.replicas.minimum);
    let unknown = now.nodes.iter().any(|node| node.condition == NodeCondition::Unknown);
    let verdict = match healthy < wanted && now.nodes.len() > 1 {
        true if unknown => Verdict::Between,
        true => Verdict::Bad,
        false => Verdict::Good,
    };
    let text = format!("{healthy} healthy replicas (limit {wanted}; alerts.replicas.minimum if that is what you want)");
    found.push(condition(Rule::Replicas, None, verdict, Some(healthy as f64), text));
    found.push(match &now.primary {
        None => condition(Rule::Primary, None, Verdict::Bad, None, "no node accepts writes".into()),
        Some(name) => condition(Rule::Primary, None, Verdict::Good, None, format!("{name} accepts writes")),
    });
    for Succession { from, to, timeline, measured } in &past.failovers {
        let subject = timeline.map_or_else(|| to.clone(), |timeline| Arc::from(format!("{to}, timeline {timeline}")));
        let cost = measured.as_ref().map_or(String::new(), |measured| {
            let back = measured.abandoned.map_or(String::new(), |abandoned| {
                format!("; timeline regression: {abandoned} was seen before, and what was written there is lost")
            });
            let loss = loss_in_words(measured.lost_bytes);
            let what = match measured.lost_bytes {
                Some(0) => String::new(),
                _ => format!("; {from} may still have it: look there before it is rewound or copied"),
            };
            format!(": there was none for {:.1} s, and {loss}{back}{what}", measured.outage)
        });
        let text = format!("{to} is the primary now, in place of {from}{cost}");
        let outage = measured.as_ref().map(|measured| measured.outage);
        found.push(condition(Rule::Failover, Some(&subject), Verdict::Bad, outage, text));
    }
}

fn caches(now: &Readings, found: &mut Vec<Condition>) {
    if let Some(up) = now.redis_up {
        let (verdict, text) = match up {
            true => (Verdict::Good, "Redis answers"),
            false => (Verdict::Bad, "Redis does not answer: each instance has its memory alone"),
        };
        found.push(condition(Rule::Redis, None, verdict, None, text.into()));
    }
    let verdict = if now.journal > 0 { Verdict::Bad } else { Verdict::Good };
    let text = match now.journal {
        0 => "Redis has heard of every invalidation".to_owned(),
        waiting => format!("Redis has not heard of {waiting} invalidations: other instances serve what was before"),
    };
    found.push(condition(Rule::Journal, None, verdict, Some(now.journal as f64), text));
}

fn condition(
    rule: Rule,
    subject: Option<&Arc<str>>,
    verdict: Verdict,
    value: Option<f64>,
    summary: String,
) -> Condition {
    Condition { key: (rule, subject.cloned()), verdict, value, summary }
}

fn rising(limit: Limit, value: f64) -> Verdict {
    match value {
        v if v > limit.fire => Verdict::Bad,
        v if v < limit.resolve => Verdict::Good,
        _ => Verdict::Between,
    }
}

fn falling(limit: Limit, value: f64) -> Verdict {
    match value {
        v if v < limit.fire => Verdict::Bad,
        v if v > limit.resolve => Verdict::Good,
        _ => Verdict::Between,
    }
}

fn share(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
