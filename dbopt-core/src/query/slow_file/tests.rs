use std::sync::atomic::AtomicU32;

use super::*;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder that is gone with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dbopt-slow-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn files(&self, most: u64, kept: u32) -> Files {
        Files { path: self.0.join("slow.json"), most, kept }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(numbers: std::ops::Range<u32>) -> VecDeque<String> {
    numbers.map(|n| format!("line {n:03}\n")).collect()
}

#[test]
fn files_are_bounded_in_size_and_number_and_a_restart_goes_on() {
    let folder = Folder::new();
    for n in 0..20 {
        // Opened anew each time, as after a restart.
        folder.files(27, 3).append(&mut lines(n..n + 1)).unwrap();
    }
    assert_eq!(folder.names(), ["slow.json", "slow.json.1", "slow.json.2", "slow.json.3"]);
    assert_eq!(folder.read("slow.json"), "line 018\nline 019\n");
    assert_eq!(folder.read("slow.json.1"), "line 015\nline 016\nline 017\n");
    assert_eq!(folder.read("slow.json.3"), "line 009\nline 010\nline 011\n");
    let mut long = VecDeque::from(["a line that is longer than a file may be\n".to_owned()]);
    folder.files(27, 3).append(&mut long).unwrap();
    assert!(folder.read("slow.json").starts_with("a line that") && folder.read("slow.json.1").ends_with("019\n"));
}

#[test]
fn what_cannot_be_written_stays() {
    let folder = Folder::new();
    let files = Files { path: folder.0.join("nowhere/slow.json"), most: 100, kept: 1 };
    let mut waiting = lines(0..3);
    assert_eq!(files.append(&mut waiting).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(waiting.len(), 3);
    fs::create_dir(folder.0.join("nowhere")).unwrap();
    files.append(&mut waiting).unwrap();
    assert!(waiting.is_empty());
    // Full disks are real: this one always is.
    #[cfg(target_os = "linux")]
    {
        let full = Files { path: "/dev/full".into(), most: 100, kept: 1 };
        let mut waiting = lines(0..2);
        assert_eq!(full.append(&mut waiting).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(waiting.len(), 2);
    }
}

fn record() -> SlowStatement {
    SlowStatement {
        ago_seconds: 1.0,
        method: None,
        at: None,
        fingerprint: "f".into(),
        sql: "SELECT 1".into(),
        node: "db1".into(),
        lane: "read",
        end: "completed".into(),
        waited_ms: 0.0,
        first_row_ms: None,
        total_ms: 120.0,
        rows: 1,
        bind_types: Vec::new(),
        values: None,
        plan: None,
        plan_absent: None,
        plan_for_values: None,
        suppressed: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_file_is_told_once_tried_again_and_its_queue_is_bounded() {
    let folder = Folder::new();
    let path = folder.0.join("late/slow.json");
    let config = Config { slow_file: path.to_str().unwrap().into(), ..Config::default() };
    let file = SlowFile::of(&config).unwrap();
    let writing = tokio::spawn(file.clone().write());
    file.take(&record());
    while file.status().failure.is_none() {
        tokio::task::yield_now().await;
    }
    for _ in 0..WAITING + 10 {
        file.take(&record());
    }
    let status = file.status();
    assert_eq!((status.written, status.dropped), (0, 10));
    fs::create_dir(folder.0.join("late")).unwrap();
    while file.status().written < WAITING as u64 + 1 {
        sleep(AGAIN).await;
    }
    assert_eq!(file.status().failure, None);
    let text = fs::read_to_string(&path).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (told.len(), told[0]["sql"].as_str(), told[0]["total_ms"].as_f64()),
        (WAITING + 1, Some("SELECT 1"), Some(120.0))
    );
    assert!(told[0]["time"].as_str().unwrap().ends_with('Z') && told[0]["ago_seconds"].is_null());
    writing.abort();
}
