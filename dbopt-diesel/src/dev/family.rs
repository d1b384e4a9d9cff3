//! The process table: who descends from whom, and who moves.

use std::collections::HashMap;

use rustix::process::Pid;

/// One look at all processes of the machine.
pub(super) struct Processes {
    by_pid: HashMap<Pid, Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parent: Option<Pid>,
    state: char,
}

impl Processes {
    /// Reads `/proc` where there is one (a millisecond or two), else asks `ps`.
    pub(super) async fn read() -> Self {
        let table = tokio::task::spawn_blocking(|| from_proc().or_else(from_ps).unwrap_or_default());
        Self { by_pid: table.await.unwrap_or_default() }
    }

    /// `root` and all its descendants, parents before children. Zombies are left out.
    pub(super) fn family(&self, root: Pid) -> Vec<Pid> {
        let mut family = vec![root];
        let mut next = 0;
        while next < family.len() {
            let parent = family[next];
            let children = self.by_pid.iter().filter(|(_, entry)| entry.parent == Some(parent) && entry.state != 'Z');
            family.extend(children.map(|(pid, _)| *pid));
            next += 1;
        }
        family
    }

    /// Neither stopped nor dead.
    pub(super) fn moves(&self, pid: Pid) -> bool {
        self.by_pid.get(&pid).is_some_and(|entry| !matches!(entry.state, 'T' | 't' | 'Z' | 'X'))
    }

    pub(super) fn is_alive(&self, pid: Pid) -> bool {
        self.by_pid.get(&pid).is_some_and(|entry| !matches!(entry.state, 'Z' | 'X'))
    }
}

fn from_proc() -> Option<HashMap<Pid, Entry>> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let names = std::fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
    let numbered = names.filter(|name| name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit));
    let stats = numbered.filter_map(|name| std::fs::read_to_string(format!("/proc/{}/stat", name.display())).ok());
    Some(stats.filter_map(|stat| parse_stat(&stat)).collect())
}

/// `4711 (postgres: (walsender) x) S 4700 ...`: the name may hold anything, also a closing parenthesis.
fn parse_stat(stat: &str) -> Option<(Pid, Entry)> {
    let (pid, rest) = stat.split_once(" (")?;
    let mut after_name = rest.rsplit_once(") ")?.1.split_ascii_whitespace();
    entry(pid, after_name.next()?, after_name.next()?)
}

fn from_ps() -> Option<HashMap<Pid, Entry>> {
    let output = std::process::Command::new("ps").args(["-axo", "pid=,stat=,ppid="]).output().ok()?;
    Some(parse_ps(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_ps(output: &str) -> HashMap<Pid, Entry> {
    let fields = output.lines().map(|line| line.split_ascii_whitespace());
    fields.filter_map(|mut field| entry(field.next()?, field.next()?, field.next()?)).collect()
}

fn entry(pid: &str, state: &str, parent: &str) -> Option<(Pid, Entry)> {
    let pid = Pid::from_raw(pid.trim().parse().ok()?)?;
    let parent = parent.parse().ok().and_then(Pid::from_raw);
    Some((pid, Entry { parent, state: state.chars().next()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(raw: i32) -> Pid {
        Pid::from_raw(raw).unwrap()
    }

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let (found, entry) = parse_stat("42 (a) b (c) S 7 42 42 0 -1").unwrap();
        assert_eq!((found, entry.parent, entry.state), (pid(42), Some(pid(7)), 'S'));
        assert!(parse_stat("nonsense").is_none());
    }

    #[test]
    fn a_family_is_all_generations_without_the_dead() {
        let table = Processes { by_pid: parse_ps("  1 Ss 0\n 10 S+ 1\n 11 S 10\n 12 Z 10\n 13 T 11\n 20 R 1\n") };
        assert_eq!(table.family(pid(10)), vec![pid(10), pid(11), pid(13)]);
        assert!(table.moves(pid(11)) && !table.moves(pid(13)) && !table.moves(pid(12)) && !table.moves(pid(99)));
        assert!(table.is_alive(pid(13)) && !table.is_alive(pid(12)));
    }

    #[test]
    fn ps_and_proc_agree_about_ourselves() {
        let me = pid(i32::try_from(std::process::id()).unwrap());
        let seen: Vec<_> = [from_proc(), from_ps()].into_iter().flatten().map(|table| table[&me].parent).collect();
        assert!(!seen.is_empty() && seen.iter().all(|parent| *parent == seen[0]));
    }
}
