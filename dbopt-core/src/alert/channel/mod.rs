//! The receivers: mail, Slack, PagerDuty, any webhook.

mod email;
mod http;
mod pagerduty;
mod slack;
mod webhook;

use super::config::Config;
use super::deliver::Notifier;

/// Every channel that is configured.
///
/// # Errors
/// What is wrong with a channel's settings.
pub fn all(config: &Config) -> Result<Vec<Box<dyn Notifier>>, Vec<String>> {
    let mut found: Vec<Box<dyn Notifier>> = Vec::new();
    let mut problems = Vec::new();
    for name in config.channels() {
        let made: Result<Box<dyn Notifier>, String> = match name {
            "email" => email::Email::new(&config.email, config.timeout).map(|email| Box::new(email) as _),
            "slack" => slack::Slack::new(&config.slack).map(|slack| Box::new(slack) as _),
            "pagerduty" => pagerduty::PagerDuty::new(&config.pagerduty).map(|pagerduty| Box::new(pagerduty) as _),
            _ => webhook::Webhook::new(&config.webhook).map(|webhook| Box::new(webhook) as _),
        };
        match made {
            Ok(notifier) => found.push(notifier),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}
