//! What was promised, and whether it was kept. Pure.

use std::time::Duration;

/// For the lost node to stream again.
const BACK: Duration = Duration::from_secs(60);

/// What one run came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    /// From the fault to the first acknowledged write elsewhere.
    pub(super) outage: Duration,
    pub(super) acknowledged: usize,
    /// Acknowledged writes that the new primary lacks: of the writers, and of the application.
    pub(super) lost: [usize; 2],
    /// How far the application's lost writes reach into the log that was lost, in bytes; and what it said was lost.
    pub(super) lost_log: u64,
    pub(super) reported: Option<u64>,
    /// The same as its metric has it, and as the coordinator does.
    pub(super) metric: Option<u64>,
    pub(super) coordinator: Option<u64>,
    /// Writes that the old primary acknowledged to the writers, after its return.
    pub(super) stale: usize,
    /// Connections of the application to the old primary, a second after it knew of the new one; and its sessions that the old one still had
    /// when it woke up.
    pub(super) connections: usize,
    pub(super) sessions: usize,
    /// Calls that the old primary served as a primary since then, writes that ran on sessions from before the fault.
    pub(super) by_the_old_one: usize,
    pub(super) on_old_sessions: usize,
    /// Calls of the application that failed.
    pub(super) failed: usize,
    pub(super) timelines: Vec<u32>,
    /// From the fault until the lost node streamed again, and until all nodes did.
    pub(super) back: Option<Duration>,
    pub(super) whole: Option<Duration>,
}

/// Under which settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How long the first acknowledged write elsewhere may take.
    pub(super) within: Duration,
    pub(super) synchronous: bool,
}

/// A promise: what the runs came to, and whether each of them kept it.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) name: &'static str,
    pub(super) figure: String,
    pub(super) broken: usize,
}

/// Every promise, over all runs.
pub(super) fn judge(runs: &[Run], terms: Terms) -> Vec<Promise> {
    let limit = terms.within;
    let promise = |name, figure: String, broken: &dyn Fn(&Run) -> bool| Promise {
        name,
        figure,
        broken: runs.iter().filter(|run| broken(run)).count(),
    };
    let sum = |of: fn(&Run) -> usize| runs.iter().map(of).sum::<usize>();
    let acknowledged = sum(|run| run.acknowledged);
    let mut all = vec![promise(
        "first acknowledged write elsewhere",
        format!("{}; {limit:?} at most", spread(runs.iter().map(|run| Some(run.outage)))),
        &|run| run.outage > limit,
    )];
    if terms.synchronous {
        let figure = format!("{} of {acknowledged}", sum(|run| run.lost[0] + run.lost[1]));
        all.push(promise("acknowledged writes lost", figure, &|run| run.lost[0] + run.lost[1] > 0));
        let figure = sum(|run| run.stale).to_string();
        all.push(promise("writes that the old primary acknowledged after its return", figure, &|run| run.stale > 0));
    } else {
        let bytes = |of: fn(&Run) -> u64| runs.iter().map(of).max().unwrap_or(0);
        let figure = format!(
            "{} of {acknowledged}, {} of them the application's, in {} bytes of log at most; reported {}",
            sum(|run| run.lost[0] + run.lost[1]),
            sum(|run| run.lost[1]),
            bytes(|run| run.lost_log),
            bytes(|run| run.reported.unwrap_or(0)),
        );
        let more = |run: &Run| run.lost[1] > 0 && run.reported.is_none_or(|reported| run.lost_log > reported);
        all.push(promise("lost, no more than the lost log that was reported", figure, &more));
        let figure = runs.iter().filter(|run| run.metric == run.reported).count();
        all.push(promise("runs in which status and metric agree on it", figure.to_string(), &|run| {
            run.metric != run.reported
        }));
    }
    all.push(promise(
        "connections to the old primary, 1 s after the new one was known",
        format!(
            "{}, and {} sessions that it still had when it woke up",
            sum(|run| run.connections),
            sum(|run| run.sessions)
        ),
        &|run| run.connections + run.sessions > 0,
    ));
    all.push(promise(
        "calls served by the old primary since, or on sessions of the old epoch",
        format!("{} and {}", sum(|run| run.by_the_old_one), sum(|run| run.on_old_sessions)),
        &|run| run.by_the_old_one + run.on_old_sessions > 0,
    ));
    let figure = format!("{} of {}", runs.iter().filter(|run| run.timelines == [2]).count(), runs.len());
    all.push(promise("one new timeline, and all nodes on it", figure, &|run| {
        run.timelines != [2] || run.whole.is_none()
    }));
    all.push(promise(
        "the lost node streams again",
        format!("{}; {BACK:?} at most", spread(runs.iter().map(|run| run.back))),
        &|run| run.back.is_none_or(|back| back > BACK),
    ));
    all
}

fn spread(times: impl Iterator<Item = Option<Duration>>) -> String {
    let mut times: Vec<Option<Duration>> = times.collect();
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    let shown = |time: Option<&Option<Duration>>| match time {
        Some(Some(time)) => format!("{:.2} s", time.as_secs_f64()),
        _ => "never".to_owned(),
    };
    format!("{} in the middle, {} at most", shown(times.get(times.len() / 2)), shown(times.last()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Run {
        let second = Some(Duration::from_secs(1));
        Run { timelines: vec![2], back: second, whole: second, ..Run::default() }
    }

    fn broken(run: Run, terms: Terms) -> Vec<&'static str> {
        judge(&[good(), run], terms)
            .into_iter()
            .filter(|promise| promise.broken > 0)
            .map(|promise| promise.name)
            .collect()
    }

    #[test]
    fn each_promise_can_be_broken() {
        let often = Terms { within: Duration::from_secs(5), synchronous: true };
        let rarely = Terms { within: Duration::from_secs(30), ..often };
        assert!(broken(good(), often).is_empty());
        let slow = Run { outage: Duration::from_secs(6), ..good() };
        assert_eq!(broken(slow.clone(), often).len(), 1);
        assert!(broken(slow, rarely).is_empty());
        type Change = fn(&mut Run);
        let changes: [Change; 11] = [
            |run| run.outage = Duration::from_secs(31),
            |run| run.lost = [1, 0],
            |run| run.lost = [0, 1],
            |run| run.stale = 1,
            |run| run.connections = 1,
            |run| run.sessions = 1,
            |run| run.by_the_old_one = 1,
            |run| run.on_old_sessions = 1,
            |run| run.timelines = vec![2, 3],
            |run| run.back = None,
            |run| run.back = Some(Duration::from_secs(61)),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut run = good();
            change(&mut run);
            assert_eq!(broken(run, rarely).len(), 1, "change {i}");
        }
    }

    #[test]
    fn without_synchronous_replication_what_is_lost_was_reported() {
        let terms = Terms { within: Duration::from_secs(5), synchronous: false };
        let run = Run { lost: [9, 3], lost_log: 500, reported: Some(500), metric: Some(500), stale: 4, ..good() };
        assert!(broken(run.clone(), terms).is_empty());
        assert_eq!(broken(Run { reported: Some(499), metric: Some(499), ..run.clone() }, terms).len(), 1);
        assert_eq!(broken(Run { metric: None, ..run.clone() }, terms).len(), 1);
        assert_eq!(broken(Run { reported: None, metric: None, ..run }, terms).len(), 1);
    }
}
