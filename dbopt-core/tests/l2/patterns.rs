//! Patterns on real keys.

use dbopt_core::cache::l2::Event;
use dbopt_core::cache::pattern::Pattern;

use super::server::{Instance, Server, key, tags};

#[tokio::test]
async fn a_pattern_invalidates_matching_tags_and_entries_and_tells_the_others() {
    let server = Server::start(&[]).await;
    let (one, mut two) = (Instance::start(server.config()).await, Instance::start(server.config()).await);
    for number in 0..700 {
        one.fill(&key(&format!("seats/{number}")), &tags(&[&format!("flight:{number}")]), b"v").await;
    }
    one.fill(&key("other"), &tags(&["airport"]), b"v").await;
    let flights = Pattern::new("flight:*");
    assert_eq!(one.layer.invalidate_pattern(&flights, None, true).await.unwrap(), 700);
    assert!(one.holds(&key("seats/1"), &tags(&["flight:1"]), b"v").await, "a dry run changes nothing");
    assert_eq!(one.layer.invalidate_pattern(&flights, None, false).await.unwrap(), 700);
    two.expect(Event::Pattern(flights)).await;
    for number in [0, 350, 699] {
        let tags = tags(&[&format!("flight:{number}")]);
        assert_eq!(two.look_up(&key(&format!("seats/{number}")), &tags).await, None);
    }
    assert!(two.holds(&key("other"), &tags(&["airport"]), b"v").await);
    assert_eq!(one.layer.invalidate_pattern(&Pattern::new("oth*"), None, false).await.unwrap(), 1);
    assert_eq!(two.look_up(&key("other"), &tags(&["airport"])).await, None);
}

#[tokio::test]
async fn what_is_special_to_redis_is_plain_text_in_a_pattern() {
    let server = Server::start(&[]).await;
    let mut config = server.config();
    config.namespace = "n*[a]?".to_owned();
    let one = Instance::start(config).await;
    let names = ["a?c", "abc", "a[bc]", "ab", r"a\c", "ac", "a*c", "axyc", "{x}"];
    for name in names {
        one.fill(&key(name), &[], b"v").await;
    }
    let count = async |pattern: Pattern| one.layer.invalidate_pattern(&pattern, None, true).await.unwrap();
    for literal in ["a?c", "a[bc]", r"a\c", "{x}", "ab"] {
        assert_eq!(count(Pattern::new(literal)).await, 1, "{literal}");
    }
    assert_eq!(count(Pattern::literal("a*c")).await, 1);
    assert_eq!(count(Pattern::new("a*c")).await, 6);
    assert_eq!(count(Pattern::new("*")).await, names.len() as u64);
}
