//! The cache's metrics.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge};
use prometheus_client::registry::Unit;

/// What the cache counted until the moment of the scrape.
#[derive(Debug, Clone, Default)]
pub struct CacheCounts {
    /// Look-ups in memory by method: answered, and not.
    pub memory: Vec<(&'static str, u64, u64)>,
    /// Look-ups in Redis by method: answered, not, and failed.
    pub redis: Vec<(&'static str, [u64; 3])>,
    /// Whether Redis answers, where it is configured.
    pub redis_up: Option<bool>,
    /// Entries that left memory by method: expired, evicted, invalidated.
    pub left: Vec<(&'static str, [u64; 3])>,
    /// Entries in memory.
    pub entries: usize,
    /// What they weigh, where they were weighed.
    pub bytes: usize,
    /// Results loaded from the database, got from another caller's load, and served although they had expired.
    pub loads: [u64; 3],
    /// How long loads took, together.
    pub load_seconds: f64,
    /// Results stored in Redis, and not stored because they were invalidated meanwhile.
    pub stored: [u64; 2],
    /// Invalidations, and those that Redis did not take at once.
    pub invalidations: [u64; 2],
    /// How long writes waited for their invalidations.
    pub invalidation_seconds: f64,
    /// Invalidations that wait to be delivered.
    pub journal: usize,
}

impl CacheCounts {
    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_lookups(encoder)?;
        let [loaded, shared, stale] = self.loads;
        let loads = [("database", loaded), ("another call", shared), ("expired entry", stale)];
        counters(
            encoder,
            "dbopt_cache_misses_answered",
            "Calls not answered from memory or Redis, by what answered",
            "by",
            &loads,
        )?;
        let [stored, fenced] = self.stored;
        let fills = [("stored", stored), ("fenced", fenced)];
        counters(
            encoder,
            "dbopt_cache_fills",
            "Results on their way to Redis, by what became of them",
            "outcome",
            &fills,
        )?;
        let [all, missed] = self.invalidations;
        let told = [("delivered", all.saturating_sub(missed)), ("journalled", missed)];
        counters(
            encoder,
            "dbopt_cache_invalidations",
            "Invalidations, by whether Redis took them at once",
            "outcome",
            &told,
        )?;
        let times = [
            ("dbopt_cache_load", "Time that loads from the database took", self.load_seconds),
            ("dbopt_cache_invalidation", "Time that writes waited for their invalidations", self.invalidation_seconds),
        ];
        for (name, help, seconds) in times {
            let time = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(seconds).encode(time)?;
        }
        number(encoder, "dbopt_cache_entries", "Entries in memory", self.entries as f64)?;
        let help = "What entries in memory weigh, as far as they were weighed: the length of their encoded form";
        let weight = encoder.encode_descriptor("dbopt_cache_weight", help, Some(&Unit::Bytes), MetricType::Gauge)?;
        ConstGauge::new(self.bytes as f64).encode(weight)?;
        let help = "Invalidations that wait to be delivered to Redis";
        number(encoder, "dbopt_cache_journal", help, self.journal as f64)?;
        match self.redis_up {
            Some(up) => {
                let help = "Whether Redis answers; absent where it is not configured";
                number(encoder, "dbopt_cache_redis_up", help, f64::from(u8::from(up)))
            }
            None => Ok(()),
        }
    }

    fn encode_lookups(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut lookups = encoder.encode_descriptor(
            "dbopt_cache_lookups",
            "Look-ups in a layer of the cache",
            None,
            MetricType::Counter,
        )?;
        for (method, hits, misses) in &self.memory {
            for (result, count) in [("hit", *hits), ("miss", *misses)] {
                let labels = [("layer", "memory"), ("method", method), ("result", result)];
                ConstCounter::new(count).encode(lookups.encode_family(&labels)?)?;
            }
        }
        for (method, counts) in &self.redis {
            for (result, count) in ["hit", "miss", "error"].into_iter().zip(counts) {
                let labels = [("layer", "redis"), ("method", method), ("result", result)];
                ConstCounter::new(*count).encode(lookups.encode_family(&labels)?)?;
            }
        }
        let help = "Entries that left memory, by reason";
        let mut left = encoder.encode_descriptor("dbopt_cache_left", help, None, MetricType::Counter)?;
        for (method, counts) in &self.left {
            for (reason, count) in ["expired", "evicted", "invalidated"].into_iter().zip(counts) {
                let labels = [("method", *method), ("reason", reason)];
                ConstCounter::new(*count).encode(left.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A gauge without labels.
fn number(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    rows: &[(&'static str, u64)],
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in rows {
        ConstCounter::new(*count).encode(family.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}
