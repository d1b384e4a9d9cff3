//! The connection to Redis, through the same layer that applications use.

use std::error::Error;
use std::time::Duration;

use dbopt_diesel::core::cache::Config;
use dbopt_diesel::core::cache::l2::{self, Layer, Missed};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::term;

/// How long Redis may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// A tool has more time than a call.
const BUDGET: Duration = Duration::from_secs(2);

pub(super) struct Remote {
    pub(super) layer: Layer,
    /// Host and port, without anything secret.
    pub(super) place: String,
    pub(super) namespace: String,
    loops: JoinSet<()>,
}

impl Remote {
    pub(super) async fn connect(config: &Config) -> Result<Self, Box<dyn Error>> {
        if config.redis.is_empty() {
            return Err(
                "no Redis is configured: set DBOPT_CACHE_REDIS=redis://user:password@host:6379/0, write `redis` under \
                        [cache] in dbopt.toml, or give --redis URL"
                    .into(),
            );
        }
        let mut settings = l2::Config::default();
        settings.url = config.redis.expose().to_owned();
        settings.namespace = config.namespace.clone();
        settings.ttl = config.ttl;
        settings.timeout = BUDGET;
        settings.connect_timeout = BUDGET;
        settings.write_timeout = BUDGET;
        let place = place(config.redis.expose());
        let (layer, _events) = Layer::new(settings)?;
        let mut loops = JoinSet::new();
        for (_, task) in layer.tasks() {
            loops.spawn(task);
        }
        let spinner = term::spinner("connecting to Redis");
        let deadline = Instant::now() + PATIENCE;
        while !layer.is_up() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        spinner.finish_and_clear();
        if !layer.is_up() {
            return Err(format!(
                "Redis at {place} does not answer within {} s: is it running there, and are user, password and TLS (rediss://) right?",
                PATIENCE.as_secs()
            )
            .into());
        }
        Ok(Remote { layer, place, namespace: config.namespace.clone(), loops })
    }

    pub(super) async fn close(mut self) {
        self.layer.shutdown(Instant::now()).await;
        self.loops.shutdown().await;
    }
}

/// What an application would leave to its journal, this tool's caller must repeat.
pub(super) fn not_taken(missed: Missed) -> Box<dyn Error> {
    format!("Redis did not take it all ({}): repeat the command, which is harmless", missed.cause).into()
}

/// Host and port of a URL. A text that is no URL is not quoted.
fn place(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "its address".to_owned() };
    let rest = rest.split('?').next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = if scheme == "unix" { Some(rest) } else { rest.split('/').next() };
    host.filter(|host| !host.is_empty()).unwrap_or("its address").to_owned()
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_place_of_a_url_has_nothing_secret() {
        assert_eq!(place("redis://user:hunter2@cache:6379/0"), "cache:6379");
        assert_eq!(place("rediss://:hun@ter2@cache:6380/1?timeout=1s"), "cache:6380");
        assert_eq!(place("unix:///run/redis.sock"), "/run/redis.sock");
        assert_eq!(place("hunter2"), "its address");
    }
}
