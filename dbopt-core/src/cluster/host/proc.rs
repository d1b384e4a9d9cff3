//! What a server's answer about its machine means: texts of /proc, or shares. Pure.

use serde_json::Value;

use super::source::{Cpu, HostSample};

/// Reads the row of `cluster.host.query` as JSON.
pub(super) fn sample(row: &str) -> Result<HostSample, String> {
    let row: Value = serde_json::from_str(row).map_err(|why| format!("cluster.host.query gave no row: {why}"))?;
    let text = |key: &str| row.get(key).and_then(Value::as_str);
    let share = |key: &str| row.get(key).and_then(Value::as_f64);
    let sample = HostSample {
        cpu: share("cpu").map(Cpu::Share).or_else(|| text("stat").and_then(cpu)),
        memory: share("memory").or_else(|| text("meminfo").and_then(memory)),
        disk: share("disk"),
    };
    if sample == HostSample::default() {
        return Err("cluster.host.query gave none of stat, meminfo, cpu, memory, disk".into());
    }
    Ok(sample)
}

/// The first line of /proc/stat: user, nice, system, idle, iowait and more, in ticks.
fn cpu(stat: &str) -> Option<Cpu> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|ticks| ticks.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0.0);
    // What guests used is part of user and nice already.
    let total: f64 = ticks.iter().take(8).sum();
    Some(Cpu::Spent { busy: total - idle, total })
}

fn memory(meminfo: &str) -> Option<f64> {
    let kilobytes = |key: &str| -> Option<f64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let total = kilobytes("MemTotal").filter(|total| *total > 0.0)?;
    Some(1.0 - kilobytes("MemAvailable")? / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        let stat = "cpu  100 10 50 800 40 0 0 0 20 0\ncpu0 1 2 3 4\nintr 5";
        let meminfo = "MemTotal:       1000 kB\nMemFree:  100 kB\nMemAvailable:    250 kB\n";
        let row = serde_json::json!({ "stat": stat, "meminfo": meminfo }).to_string();
        let wanted =
            HostSample { cpu: Some(Cpu::Spent { busy: 160.0, total: 1000.0 }), memory: Some(0.75), disk: None };
        assert_eq!(sample(&row), Ok(wanted));
    }

    #[test]
    fn a_query_of_ones_own_may_give_shares() {
        let row = r#"{"cpu": 0.5, "disk": 0.25, "meminfo": "nothing of use"}"#;
        assert_eq!(sample(row), Ok(HostSample { cpu: Some(Cpu::Share(0.5)), memory: None, disk: Some(0.25) }));
    }

    #[test]
    fn an_answer_without_figures_says_what_is_missing() {
        assert!(sample("{}").unwrap_err().contains("none of stat, meminfo, cpu, memory, disk"));
        assert!(sample("").unwrap_err().contains("no row"));
        assert!(sample(r#"{"stat": "", "meminfo": "MemTotal: 0 kB"}"#).is_err());
    }
}
