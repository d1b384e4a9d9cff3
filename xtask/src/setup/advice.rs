//! What to type where we do not install.

/// How a system installs the two, by the names of os-release's ID and ID_LIKE.
const COMMANDS: &[(&[&str], &str, &str)] = &[
    (&["debian", "ubuntu"], "sudo apt-get install postgresql", "sudo apt-get install redis-server"),
    (&["fedora", "rhel", "centos"], "sudo dnf install postgresql-server postgresql-contrib", "sudo dnf install valkey"),
    (&["arch"], "sudo pacman -S postgresql", "sudo pacman -S valkey"),
    (&["alpine"], "sudo apk add postgresql postgresql-contrib", "sudo apk add redis"),
    (&["suse", "opensuse"], "sudo zypper install postgresql-server postgresql-contrib", "sudo zypper install redis"),
    (&["macos"], "brew install postgresql@17", "brew install redis"),
];

pub(super) fn for_this_machine(missing: &[&str]) -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = if cfg!(target_os = "macos") { "ID=macos" } else { os_release.as_str() };
    advice(system, missing)
}

fn advice(os_release: &str, missing: &[&str]) -> String {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|names| names.trim_matches(['"', '\'']).split_whitespace())
        .collect();
    let known = COMMANDS.iter().find(|(names, ..)| names.iter().any(|name| ids.contains(name)));
    let mut lines = vec!["Please install:".to_owned()];
    for what in missing {
        lines.push(match (known, *what) {
            (Some((_, postgres, _)), "postgresql") => format!("  {postgres}"),
            (Some((.., redis)), _) => format!("  {redis}"),
            (None, "postgresql") => "  PostgreSQL 13 or newer: the server, its client programs and contrib".to_owned(),
            (None, _) => "  Redis 7 or newer, or Valkey".to_owned(),
        });
    }
    lines.push(
        "No server has to run. Programs in an unusual place are found through DBOPT_PG_BIN (the folder of `postgres`) \
         and DBOPT_REDIS_SERVER (the file)."
            .to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn a_relative_of_a_known_system_gets_its_commands() {
        let text =
            advice("NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", &["postgresql", "redis"]);
        assert!(text.contains("dnf install postgresql-server postgresql-contrib"), "{text}");
        assert!(text.contains("dnf install valkey"), "{text}");
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let text = advice("ID=macos", &["redis"]);
        assert!(text.contains("brew install redis") && !text.contains("postgresql@"), "{text}");
    }

    #[test]
    fn an_unknown_system_is_told_what_and_not_how() {
        let text = advice("ID=plan9", &["postgresql", "redis"]);
        assert!(text.contains("PostgreSQL 13 or newer") && text.contains("DBOPT_PG_BIN"), "{text}");
    }
}
