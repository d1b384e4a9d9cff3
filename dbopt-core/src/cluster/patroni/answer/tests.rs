use super::*;
use proptest::prelude::*;

fn cluster(members: &str, more: &str) -> ClusterAnswer {
    ClusterAnswer::read(&format!("{{\"members\":[{members}]{more}}}")).unwrap()
}

const OLD: &str = r#"{"name":"n0","role":"leader","state":"running","api_url":"http://127.0.0.1:57020/patroni","host":"127.0.0.1","port":57010,"timeline":1},
    {"name":"n1","role":"replica","state":"running","api_url":"http://127.0.0.1:57021/patroni","host":"127.0.0.1","port":57011,"timeline":1,"lag":0}"#;

const NEW: &str = r#"{"name":"n0","role":"leader","state":"running","api_url":"https://db0:8008/patroni","host":"db0","port":5432,"timeline":4},
    {"name":"n1","role":"quorum_standby","state":"streaming","api_url":"https://db1:8008/patroni","host":"db1","port":5432,"timeline":4,
     "receive_lag":0,"receive_lsn":"0/5000000","replay_lag":0,"replay_lsn":"0/5000000","lag":0,"lsn":"0/5000000","tags":{"nosync":true}},
    {"name":"n2","role":"sync_standby","state":"in archive recovery","api_url":"https://db2:8008/patroni","host":"db2","port":5432,"timeline":4,"lag":"unknown"}"#;

#[test]
fn the_list_of_members_is_read_from_every_version() {
    let old = cluster(OLD, "");
    assert_eq!((old.scope.clone(), old.paused, old.members.len()), (None, false, 2));
    let leader = old.leader().unwrap();
    assert_eq!((&*leader.name, leader.place.as_ref().unwrap().to_string().as_str()), ("n0", "127.0.0.1:57010"));
    assert_eq!(leader.api.as_deref(), Some("http://127.0.0.1:57020/patroni"));

    let more = r#","scope":"dbopt","pause":true,"scheduled_switchover":{"at":"2030-01-01T00:00:00+00:00","from":"n1"}"#;
    let new = cluster(NEW, more);
    assert_eq!((new.scope.as_deref(), new.paused), (Some("dbopt"), true));
    let ranks: Vec<_> = new.members.iter().map(|member| member.rank).collect();
    assert_eq!(ranks, [Rank::Leader, Rank::Follower, Rank::Follower]);
}

#[test]
fn whatever_a_leader_is_called_it_leads() {
    for (role, rank) in [
        ("leader", Rank::Leader),
        ("master", Rank::Leader),
        ("primary", Rank::Leader),
        ("standby_leader", Rank::StandbyLeader),
        ("replica", Rank::Follower),
        ("sync_standby", Rank::Follower),
        ("quorum_standby", Rank::Follower),
        ("something new", Rank::Follower),
    ] {
        let seen = cluster(&format!(r#"{{"name":"n","role":"{role}","host":"h","port":1}}"#), "");
        assert_eq!(seen.members[0].rank, rank, "{role}");
        assert_eq!(seen.leader().is_some(), rank != Rank::Follower);
    }
}

#[test]
fn what_is_missing_or_odd_in_a_member_costs_nothing_else() {
    let odd = r#"{"name":"new","role":"replica","state":"creating replica","lag":"unknown"},
        {"name":"text","role":"replica","host":"h","port":"5433"},
        {"name":"none","role":"replica","host":"h"},
        {"name":"bad","role":"replica","host":"h","port":99999},
        {"role":"replica"}, 7,
        {"name":"n0","role":"leader","host":"h","port":5432,"timeline":"?"}"#;
    let seen = cluster(odd, "");
    let places: Vec<_> = seen.members.iter().map(|m| (&*m.name, m.place.as_ref().map(|place| place.port))).collect();
    let wanted = [("new", None), ("text", Some(5433)), ("none", Some(5432)), ("bad", None), ("n0", Some(5432))];
    assert_eq!(places, wanted);
    assert!(seen.leader().is_some());
    assert!(cluster("", "").leader().is_none());
}

#[test]
fn what_a_member_says_of_itself_is_read_from_every_version() {
    let old = SelfAnswer::read(
        r#"{"state":"running","postmaster_start_time":"2026-11-21 19:36:45.178900+00:00","role":"master","server_version":150018,"xlog":{"location":83886176},
        "timeline":1,"dcs_last_seen":1795289825,"database_system_identifier":"7710710997235651040","patroni":{"version":"3.0.2","scope":"dbopt"}}"#,
    );
    let wanted = SelfAnswer {
        is_primary: true,
        started: Some(1_795_289_805_178_900),
        system_identifier: Some(7_710_710_997_235_651_040),
        version: Some(Version([3, 0, 2])),
        scope: Some("dbopt".into()),
        ..SelfAnswer::default()
    };
    assert_eq!(old, Ok(wanted.clone()));
    let new = SelfAnswer::read(
        r#"{"state":"running","postmaster_start_time":"2026-11-21 19:36:45.178900+00:00","role":"primary","timeline":1,"pause":true,"cluster_unlocked":true,
        "failsafe_mode_is_active":true,"database_system_identifier":"7710710997235651040","patroni":{"version":"4.1.4","scope":"dbopt","name":"n1"}}"#,
    );
    let flags = (true, true, true);
    let wanted = SelfAnswer { version: Some(Version([4, 1, 4])), name: Some("n1".into()), ..wanted };
    assert_eq!(new, Ok(SelfAnswer { paused: flags.0, unlocked: flags.1, failsafe: flags.2, ..wanted }));
    let starting = SelfAnswer::read(r#"{"state":"starting","role":"replica","patroni":{"version":"4.0","scope":"x"}}"#);
    assert!(starting.is_ok_and(|seen| !seen.is_primary && seen.started.is_none()));
}

#[test]
fn what_is_not_patroni_is_said_to_be_something_else() {
    let page = "<!DOCTYPE HTML><html><head><title>Error response</title></head></html>";
    assert_eq!(ClusterAnswer::read(page).unwrap_err(), "what answers is a web page, not Patroni");
    assert_eq!(SelfAnswer::read(page).unwrap_err(), "what answers is a web page, not Patroni");
    for (text, wanted) in [
        ("", "no JSON object, so it is not Patroni's (it is empty)"),
        ("[1]", "no JSON object"),
        ("{\"status\": \"ok\"}", "no list of members ({\"status\": \"ok\"})"),
        ("{\"members\": 3}", "no list of members"),
    ] {
        let found = ClusterAnswer::read(text).unwrap_err();
        assert!(found.contains(wanted), "{text}: {found}");
    }
    assert!(SelfAnswer::read("{\"role\":\"primary\"}").unwrap_err().contains("it has no role"));
    assert!(ClusterAnswer::read(&"x".repeat(9999)).unwrap_err().len() < 200);
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let read = |text| Version::read(text).unwrap();
    assert!(read("3.0.2") < Version::SAFE && read("2.1.7") < Version::SAFE);
    assert!(read("3.0.3") >= Version::SAFE && read("4.1") >= Version::SAFE && read("3.10.0rc1") > read("3.9.9"));
    assert_eq!((Version::read("dev"), read("4.1.4b2").to_string()), (None, "4.1.4".into()));
}

#[test]
fn the_moment_of_a_start_is_read_with_its_zone() {
    let utc = microseconds("2026-11-21 19:36:45.178900+00:00");
    assert_eq!(utc, Some(1_795_289_805_178_900));
    assert_eq!(microseconds("2026-11-22 01:06:45.1789+05:30"), utc);
    assert_eq!(microseconds("2026-11-21T14:36:45.178900-05:00"), utc);
    assert_eq!(microseconds("2026-11-21 19:36:45.178900Z"), utc);
    assert_eq!(microseconds("1970-01-01 00:00:00+00"), Some(0));
    assert_eq!(microseconds("2024-02-29 00:00:00+00:00"), Some(1_709_164_800_000_000));
    assert_eq!(microseconds("2024-03-01 00:00:00+00:00"), Some(1_709_251_200_000_000));
    for wrong in ["", "yesterday", "2026-13-01 00:00:00", "2026-11-21", "2026-11-21 aa:00:00"] {
        assert_eq!(microseconds(wrong), None, "{wrong}");
    }
}

#[test]
fn the_ttl_is_read() {
    assert_eq!(ttl(r#"{"ttl":20,"loop_wait":5}"#), Some(20));
    assert_eq!((ttl("{}"), ttl("<html>")), (None, None));
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read_without_panic(text: String) {
        let _ = (ClusterAnswer::read(&text), SelfAnswer::read(&text), microseconds(&text), Version::read(&text));
    }
}
