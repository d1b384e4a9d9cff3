//! A node exporter of Prometheus: its text, and how it is fetched.

use super::source::{Cpu, HostSample};

/// File systems that hold nobody's data.
const NOT_DISKS: [&str; 8] = ["tmpfs", "devtmpfs", "ramfs", "overlay", "squashfs", "rootfs", "fuse.lxcfs", "nsfs"];

/// Reads an exporter's text. `mount` is a folder on the file system to judge; empty: the fullest.
pub(super) fn sample(text: &str, mount: &str) -> Result<HostSample, String> {
    let (mut busy, mut total) = (0.0, 0.0);
    let (mut available, mut memory) = (None, None);
    let mut disks: Vec<Disk<'_>> = Vec::new();
    for Line { name, labels, value } in text.lines().filter_map(Line::parse) {
        match name {
            "node_cpu_seconds_total" => {
                let mode = labels.get("mode");
                // What guests used is part of user and nice already.
                if matches!(mode, Some("guest" | "guest_nice")) {
                    continue;
                }
                total += value;
                busy += if matches!(mode, Some("idle" | "iowait")) { 0.0 } else { value };
            }
            "node_memory_MemAvailable_bytes" => available = Some(value),
            "node_memory_MemTotal_bytes" => memory = Some(value),
            "node_filesystem_avail_bytes" | "node_filesystem_size_bytes" => {
                let (Some(place), kind) = (labels.get("mountpoint"), labels.get("fstype").unwrap_or_default()) else {
                    continue;
                };
                if NOT_DISKS.contains(&kind) && !place.eq(mount) {
                    continue;
                }
                let known = disks.iter_mut().position(|disk| disk.place == place);
                let i = known.unwrap_or_else(|| {
                    disks.push(Disk { place, ..Disk::default() });
                    disks.len() - 1
                });
                let side = if name == "node_filesystem_size_bytes" { &mut disks[i].size } else { &mut disks[i].free };
                *side = Some(value);
            }
            _ => {}
        }
    }
    let used =
        |free: Option<f64>, of: Option<f64>| of.filter(|of| *of > 0.0).zip(free).map(|(of, free)| 1.0 - free / of);
    let sample = HostSample {
        cpu: (total > 0.0).then_some(Cpu::Spent { busy, total }),
        memory: used(available, memory),
        disk: judged(&disks, mount).and_then(|disk| used(disk.free, disk.size)),
    };
    if sample == HostSample::default() {
        return Err("what answers there is no node exporter: none of its metrics is in the answer".into());
    }
    Ok(sample)
}

#[derive(Debug, Clone, Copy, Default)]
struct Disk<'a> {
    place: &'a str,
    free: Option<f64>,
    size: Option<f64>,
}

/// The file system that `mount` is on, or the fullest.
fn judged<'a, 'b>(disks: &'b [Disk<'a>], mount: &str) -> Option<&'b Disk<'a>> {
    let holds = |disk: &&Disk<'_>| {
        let place = disk.place.trim_end_matches('/');
        mount.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let fullness =
        |disk: &Disk<'_>| 1.0 - disk.free.unwrap_or(1.0) / disk.size.filter(|size| *size > 0.0).unwrap_or(1.0);
    match mount {
        "" => disks.iter().max_by(|a, b| fullness(a).total_cmp(&fullness(b))),
        _ => disks.iter().filter(holds).max_by_key(|disk| disk.place.len()),
    }
}

/// One line: a metric with its labels and value.
struct Line<'a> {
    name: &'a str,
    labels: Labels<'a>,
    value: f64,
}

#[derive(Clone, Copy)]
struct Labels<'a>(&'a str);

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        // Most of an exporter's lines are none of ours.
        if !line.starts_with("node_") {
            return None;
        }
        let (name, labels, rest) = match line.split_once('{') {
            // A value of a label may hold a brace, but nothing after the last one.
            Some((name, rest)) => rest.rsplit_once('}').map(|(labels, rest)| (name, labels, rest))?,
            None => line.split_once(' ').map(|(name, rest)| (name, "", rest))?,
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Line { name, labels: Labels(labels), value })
    }
}

impl<'a> Labels<'a> {
    /// The value of a label as it is written; names of modes and file systems need no escapes.
    fn get(self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.0;
        loop {
            let (name, quoted) = rest.split_once("=\"")?;
            let end = end_of_value(quoted)?;
            if name.trim_start_matches([',', ' ']) == wanted {
                return Some(&quoted[..end]);
            }
            rest = &quoted[end + 1..];
        }
    }
}

fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(i),
            _ => {}
        }
    }
    None
}

#[cfg(feature = "exporter")]
pub(super) use fetch::fetch;

#[cfg(feature = "exporter")]
mod fetch {
    use http::{Request, Uri};
    use http_body_util::{BodyExt, Empty, Limited};
    use hyper_util::client::legacy::Client;
    use hyper_util::client::legacy::connect::HttpConnector;
    use hyper_util::rt::TokioExecutor;

    /// More than any exporter has to say.
    const MOST: usize = 8 << 20;

    /// Fetches an exporter's text; the caller bounds it in time.
    pub(in crate::cluster::host) async fn fetch(url: &str) -> Result<String, String> {
        let uri: Uri = url.parse().map_err(|why| format!("host_metrics is no address: {why}"))?;
        // Asked every ten seconds: a connection that was kept would only be one that may be dead.
        let client: Client<HttpConnector, Empty<&'static [u8]>> =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(HttpConnector::new());
        let agent = concat!("dbopt/", env!("CARGO_PKG_VERSION"));
        let request = Request::get(uri).header(http::header::USER_AGENT, agent).body(Empty::new());
        let request = request.map_err(|why| format!("host_metrics is no address: {why}"))?;
        let answer = client.request(request).await.map_err(|why| innermost(&why))?;
        if !answer.status().is_success() {
            return Err(format!("the exporter answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(|why| innermost(&*why))?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    fn innermost(error: &dyn std::error::Error) -> String {
        error.source().map_or_else(|| error.to_string(), innermost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="idle"} 700
node_cpu_seconds_total{cpu="0",mode="iowait"} 100
node_cpu_seconds_total{cpu="0",mode="user"} 1.5e+02
node_cpu_seconds_total{cpu="1",mode="system"} 50
node_memory_MemTotal_bytes 1000
node_memory_MemAvailable_bytes 400
node_filesystem_size_bytes{device="/dev/vda1",fstype="ext4",mountpoint="/"} 100
node_filesystem_avail_bytes{device="/dev/vda1",fstype="ext4",mountpoint="/"} 80
node_filesystem_size_bytes{device="a \"b}, c",fstype="xfs",mountpoint="/var/lib"} 100 1700000000000
node_filesystem_avail_bytes{device="a \"b}, c",fstype="xfs",mountpoint="/var/lib"} 5 1700000000000
node_filesystem_size_bytes{device="tmpfs",fstype="tmpfs",mountpoint="/run"} 100
node_filesystem_avail_bytes{device="tmpfs",fstype="tmpfs",mountpoint="/run"} 0
node_load1 0.5
"#;

    #[test]
    fn an_exporters_text_is_understood() {
        let found = sample(TEXT, "").unwrap();
        assert_eq!(found.cpu, Some(Cpu::Spent { busy: 200.0, total: 1000.0 }));
        assert_eq!(found.memory, Some(0.6));
        assert_eq!(found.disk, Some(0.95), "the fullest, and what is in memory is no disk");
    }

    #[test]
    fn the_file_system_of_a_folder_is_the_nearest_above_it() {
        let disk = |mount| sample(TEXT, mount).unwrap().disk.map(|used| (used * 100.0).round());
        assert_eq!(disk("/var/lib/postgresql/15/main"), Some(95.0));
        assert_eq!(disk("/var/library"), Some(20.0));
        assert_eq!(disk("/"), Some(20.0));
    }

    #[test]
    fn another_server_is_no_exporter() {
        assert!(sample("<html>", "").unwrap_err().contains("no node exporter"));
        assert!(sample("node_cpu_seconds_total{mode=\"idle\" 5", "").is_err());
    }
}
