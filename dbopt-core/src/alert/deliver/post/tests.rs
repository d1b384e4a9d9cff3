use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::alert::notification::Kind;
use crate::alert::rule::Severity;
use futures_util::future::BoxFuture;

const LIMITS: Limits = Limits { per_hour: 1000, waiting: 100, retry_for: Duration::from_secs(3600), joins: false };

/// A receiver that hangs, then fails, then takes everything.
#[derive(Debug, Default)]
struct Moody {
    asked: Arc<AtomicUsize>,
    got: Arc<Mutex<Vec<String>>>,
}

impl Notifier for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn deliver<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            match self.asked.fetch_add(1, Ordering::Relaxed) {
                0 => std::future::pending().await,
                1 => Err(Failure::passing("503")),
                _ => {
                    self.got.lock().push(message.title());
                    Ok("ok".into())
                }
            }
        })
    }
}

fn news(summary: &str) -> Notification {
    Notification {
        key: summary.into(),
        rule: None,
        subject: None,
        severity: Severity::Info,
        kind: Kind::Test,
        summary: summary.into(),
        value: None,
        lasted: Duration::ZERO,
        source: "shop".into(),
        instance: "web-1".into(),
        at: Instant::now(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_and_fails_gets_everything_in_order_in_the_end() {
    let (moody, got) = (Moody::default(), Arc::<Mutex<Vec<String>>>::default());
    let moody = Moody { got: got.clone(), ..moody };
    let post = Post::new(Box::new(moody), LIMITS, Duration::from_secs(10));
    let task = tokio::spawn(post.clone().run());
    let start = Instant::now();
    for name in ["one", "two", "three"] {
        post.tell(news(name));
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "telling never waits");
    while !post.is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(*got.lock(), ["[shop] TEST: one", "[shop] TEST: two", "[shop] TEST: three"]);
    assert_eq!(post.counts(), Delivered { delivered: 3, retried: 2, ..Delivered::default() });
    assert!(start.elapsed() >= Duration::from_secs(11) && start.elapsed() < Duration::from_secs(14));
    task.abort();
}
