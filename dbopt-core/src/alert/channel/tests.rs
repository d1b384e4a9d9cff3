use super::super::{pagerduty, webhook};
use super::*;
use crate::alert::notification::Notification;
use crate::alert::rule::Rule;
use std::time::Duration;

fn news(kind: Kind, summary: &str) -> Notification {
    Notification {
        key: "shop/node/db2".into(),
        rule: Some(Rule::Node),
        subject: Some("db2".into()),
        severity: Severity::Error,
        kind,
        summary: summary.into(),
        value: None,
        lasted: Duration::from_secs(7),
        source: "shop".into(),
        instance: "web-1".into(),
        at: Instant::now(),
    }
}

fn message(news: Vec<Notification>) -> Message {
    Message { news, id: "1".into() }
}

#[tokio::test(start_paused = true)]
async fn slack_gets_text_and_blocks_in_which_nothing_is_markup() {
    let now = Instant::now();
    let body = body(&message(vec![news(Kind::Firing, "<!channel> & *b*")]), now);
    assert_eq!(body["text"], "[shop] FIRING node: &lt;!channel&gt; &amp; ∗b∗");
    assert_eq!(body["blocks"][0]["type"], "section");
    assert!(body["blocks"][0]["text"]["text"].as_str().unwrap().starts_with(":red_circle:"));
    let many = message((0..500).map(|i| news(Kind::Resolved, &format!("{i}{}", "x".repeat(200)))).collect());
    let body = super::body(&many, now);
    assert!(body["blocks"][1]["elements"][0]["text"].as_str().unwrap().chars().count() <= 3000);
    assert!(body["blocks"][0]["text"]["text"].as_str().unwrap().contains(":large_green_circle:"));
}

#[tokio::test(start_paused = true)]
async fn pagerduty_gets_what_its_schema_asks_for() {
    let now = Instant::now() + Duration::from_secs(90);
    let key = "R0123".into();
    let trigger = pagerduty::event(&key, &news(Kind::Firing, &"y".repeat(2000)), now);
    assert_eq!((&trigger["event_action"], &trigger["dedup_key"]), (&"trigger".into(), &"shop/node/db2".into()));
    let payload = &trigger["payload"];
    assert_eq!((&payload["severity"], &payload["source"]), (&"error".into(), &"db2".into()));
    assert_eq!(payload["summary"].as_str().unwrap().chars().count(), 1024);
    assert!(payload["custom_details"]["noticed"].as_str().unwrap().ends_with("for 7s, told 1m 30s late"), "{payload}");
    let resolve = pagerduty::event(&key, &news(Kind::Resolved, ""), now);
    assert_eq!(resolve["event_action"], "resolve");
    assert!(resolve["dedup_key"] == trigger["dedup_key"] && resolve.get("payload").is_none());
}

/// The example of RFC 4231, 4.3.
#[test]
fn a_webhook_is_signed_with_hmac_sha256() {
    let signature = webhook::sign("Jefe", b"what do ya want for nothing?");
    assert_eq!(signature, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
