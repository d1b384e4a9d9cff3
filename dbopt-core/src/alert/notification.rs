//! What people are told.

use std::time::Duration;

use tokio::time::Instant;

use super::rule::{Rule, Severity};

/// Whether something began, ended, or is tried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An alert began.
    Firing,
    /// It is over.
    Resolved,
    /// Nothing is wrong: somebody tries out the channel.
    Test,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Firing => "firing",
            Kind::Resolved => "resolved",
            Kind::Test => "test",
        }
    }
}

/// One piece of news.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The same for the beginning and the end of an alert, and for all instances that notice the same thing.
    pub key: String,
    /// The rule; none for a test.
    pub rule: Option<Rule>,
    /// What of it, such as the node.
    pub subject: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it began or ended.
    pub kind: Kind,
    /// What happened, in words.
    pub summary: String,
    /// The figure, where there is one.
    pub value: Option<f64>,
    /// How long it had been so when this was noticed.
    pub lasted: Duration,
    /// The application.
    pub source: String,
    /// The instance that noticed it.
    pub instance: String,
    /// When it was noticed.
    pub at: Instant,
}

impl Notification {
    /// `[shop] FIRING node: db2 does not answer`.
    pub fn title(&self) -> String {
        let kind = self.kind.name().to_uppercase();
        let rule = self.rule.map_or(String::new(), |rule| format!(" {}", rule.name()));
        format!("[{}] {kind}{rule}: {}", self.source, self.summary)
    }

    /// What is to be known besides: since when, who says so, and how late this is told.
    pub fn details(&self, now: Instant) -> String {
        let mut text = format!("severity {}, noticed by {}", self.severity.name(), self.instance);
        match self.kind {
            Kind::Firing if self.lasted >= SECOND => text.push_str(&format!(", for {}", whole(self.lasted))),
            Kind::Resolved => text.push_str(&format!(", after {}", whole(self.lasted))),
            Kind::Firing | Kind::Test => {}
        }
        let late = now.saturating_duration_since(self.at);
        if late >= 30 * SECOND {
            text.push_str(&format!(", told {} late", whole(late)));
        }
        text
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn whole(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

/// What a channel sends at once: one piece of news, or what gathered while it had to be quiet.
#[derive(Debug, Clone)]
pub struct Message {
    /// In the order in which they happened; never empty.
    pub news: Vec<Notification>,
    /// The same whenever it is sent again, so that a receiver can tell.
    pub id: String,
}

/// News in a summary that are named; the rest is counted.
const NAMED: usize = 20;

impl Message {
    /// The worst of it.
    pub fn severity(&self) -> Severity {
        self.news.iter().map(|n| n.severity).max().unwrap_or(Severity::Info)
    }

    /// One line.
    pub fn title(&self) -> String {
        match &self.news[..] {
            [only] => only.title(),
            all => {
                let count = |kind| all.iter().filter(|n| n.kind == kind).count();
                let source = all.first().map_or("", |n| n.source.as_str());
                format!("[{source}] {} alerts began and {} ended", count(Kind::Firing), count(Kind::Resolved))
            }
        }
    }

    /// Everything, a line each.
    pub fn lines(&self, now: Instant) -> Vec<String> {
        if let [only] = &self.news[..] {
            return vec![only.details(now)];
        }
        let mut lines: Vec<String> =
            self.news.iter().take(NAMED).map(|n| format!("{} ({})", n.title(), n.details(now))).collect();
        if self.news.len() > NAMED {
            lines.push(format!("and {} more: see the status or /metrics", self.news.len() - NAMED));
        }
        lines
    }
}
