//! What several members' answers come to. Pure.

use super::answer::{ClusterAnswer, Listed, Rank, SelfAnswer, Version};
use super::lead::{Lead, Member};

/// What one member says of itself.
#[derive(Debug, Clone)]
pub(super) struct Stand {
    /// Its address, as it may be shown.
    pub(super) address: String,
    pub(super) answer: SelfAnswer,
    /// Whether it says that it holds the lock and its server is a primary.
    pub(super) holds: bool,
}

/// Who leads, and what there is to say about it.
#[derive(Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) lead: Lead,
    pub(super) note: Option<String>,
}

fn settled(lead: Lead, note: impl Into<String>) -> Settled {
    Settled { lead, note: Some(note.into()) }
}

/// What follows from a list of members in which one is the leader; `None` if none is.
pub(super) fn named(answer: &ClusterAnswer) -> Option<Settled> {
    let leader = answer.leader()?;
    let others = answer.members.iter().filter(|member| member.name != leader.name).map(member).collect();
    let note = if leader.rank == Rank::StandbyLeader {
        Some(format!(
            "`{}` leads a standby cluster, which follows another one: nothing in it takes writes",
            leader.name
        ))
    } else {
        let text = "Patroni is paused: it replaces no leader until it is resumed (patronictl resume)";
        answer.paused.then(|| text.to_owned())
    };
    Some(Settled { lead: Lead::Named { leader: member(leader), others }, note })
}

/// What follows when nobody is listed as the leader, or no list is to be had; from what members say of themselves, and what was listed last.
pub(super) fn without_a_leader(listed: Option<&ClusterAnswer>, stands: &[Stand], known: &[Listed]) -> Settled {
    let holders: Vec<Member> = stands.iter().filter(|stand| stand.holds).map(|stand| standing(stand, known)).collect();
    let names = holders.iter().map(|member| format!("`{}`", member.name)).collect::<Vec<_>>().join(" and ");
    let paused = listed.map_or_else(|| stands.iter().any(|stand| stand.answer.paused), |listed| listed.paused);
    match (listed, holders.is_empty()) {
        _ if stands.is_empty() && listed.is_none() => {
            settled(Lead::Unsaid, "Patroni's members do not answer: the servers alone decide who leads")
        }
        (_, true) if paused => settled(
            Lead::Unsaid,
            "Patroni is paused and names no leader: the servers alone decide who leads until it is resumed (patronictl resume)",
        ),
        (Some(_), true) => settled(
            Lead::Standing(holders),
            "Patroni has no leader, and no member says that it goes on as one: writes wait until there is one",
        ),
        (Some(_), false) => {
            let text = format!("nobody holds the lock in Patroni's store, and {names} goes on as the leader");
            settled(Lead::Standing(holders), text)
        }
        (None, true) => settled(
            Lead::Unsaid,
            "Patroni's members cannot reach their store, and none says that it goes on as the leader: the servers alone decide who leads",
        ),
        (None, false) => {
            let failsafe = stands.iter().any(|stand| stand.holds && stand.answer.failsafe);
            let how = if failsafe { " in failsafe mode" } else { "" };
            let text = format!("Patroni's members cannot reach their store, and {names} goes on as the leader{how}");
            settled(Lead::Standing(holders), text)
        }
    }
}

fn member(listed: &Listed) -> Member {
    Member { name: listed.name.clone(), place: listed.place.clone(), started: None }
}

/// One that speaks for itself, with what was listed of it.
fn standing(stand: &Stand, known: &[Listed]) -> Member {
    let is_it = |listed: &&Listed| match (&stand.answer.name, &listed.api) {
        (Some(name), _) => *name == listed.name,
        (None, Some(api)) => {
            api.strip_prefix(&stand.address).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
        }
        (None, None) => false,
    };
    let listed = known.iter().find(is_it);
    let name = stand.answer.name.clone().or_else(|| listed.map(|listed| listed.name.clone()));
    Member {
        name: name.unwrap_or_else(|| stand.address.as_str().into()),
        place: listed.and_then(|listed| listed.place.clone()),
        started: stand.answer.started,
    }
}

/// What is wrong with the addresses in the settings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Checked {
    /// With these nothing that Patroni says can be believed.
    pub(super) wrong: Vec<String>,
    /// These should be known.
    pub(super) notes: Vec<String>,
}

/// What to write instead of an address where something else answers.
pub(super) fn no_patroni(why: &str) -> String {
    format!("{why}; write the restapi.connect_address of a member, such as http://db1:8008")
}

/// Whether all that answer are Patroni's members of one cluster, the one that the servers belong to. `others`: what is wrong with addresses
/// where no member can be asked, and what to write.
pub(super) fn check(stands: &[Stand], others: &[(String, String)], identifier: Option<u64>) -> Checked {
    let mut checked = Checked::default();
    for (address, why) in others {
        checked.wrong.push(format!("cluster.patroni.urls: {address}: {why}"));
    }
    for Stand { address, answer, .. } in stands {
        if let (Some(own), Some(wanted)) = (answer.system_identifier, identifier)
            && own != wanted
        {
            checked.wrong.push(format!(
                "cluster.patroni.urls: {address} is a member of another cluster (its servers' identifier is {own}, that of the servers in \
                 [database] is {wanted}): write the addresses of this cluster's members"
            ));
        }
        if answer.version.is_some_and(|version| version < Version::SAFE) {
            let version = answer.version.map(|version| version.to_string()).unwrap_or_default();
            checked.notes.push(format!(
                "{address} is Patroni {version}: before {} a leader that was frozen takes the lock back from the next one, where etcd is asked by \
                 `etcd3:`, and acknowledged writes are lost; update it, or ask by `etcd:`",
                Version::SAFE
            ));
        }
    }
    let mut scoped = stands.iter().filter_map(|stand| Some((&stand.address, stand.answer.scope.as_ref()?)));
    if let Some((first, scope)) = scoped.next()
        && let Some((other, its)) = scoped.find(|(_, its)| *its != scope)
    {
        checked.wrong.push(format!(
            "cluster.patroni.urls: {first} is of the scope `{scope}`, and {other} of `{its}`: keep the members of one cluster"
        ));
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(members: &str, more: &str) -> ClusterAnswer {
        ClusterAnswer::read(&format!("{{\"members\":[{members}]{more}}}")).unwrap()
    }

    const LEADER: &str = r#"{"name":"n0","role":"leader","host":"h0","port":1,"api_url":"http://h0:8008/patroni"}"#;
    const OTHER: &str = r#"{"name":"n1","role":"replica","host":"h1","port":1,"api_url":"http://h1:8008/patroni"}"#;

    fn stand(address: &str, holds: bool, more: &str) -> Stand {
        let role = if holds { "primary" } else { "replica" };
        let text = format!(r#"{{"role":"{role}","patroni":{{"version":"4.1.4","scope":"s"}}{more}}}"#);
        Stand { address: address.into(), answer: SelfAnswer::read(&text).unwrap(), holds }
    }

    fn names(lead: &Lead) -> Vec<&str> {
        match lead {
            Lead::Standing(members) => members.iter().map(|member| &*member.name).collect(),
            Lead::Named { leader, .. } => vec![&leader.name],
            Lead::Unsaid => vec!["(unsaid)"],
        }
    }

    #[test]
    fn the_leader_is_named_and_what_is_odd_about_it_is_said() {
        let plain = named(&answer(&format!("{OTHER},{LEADER}"), "")).unwrap();
        assert!(plain.note.is_none());
        assert!(
            matches!(plain.lead, Lead::Named { leader, others } if &*leader.name == "n0" && &*others[0].name == "n1")
        );
        let paused = named(&answer(LEADER, ",\"pause\":true")).unwrap();
        assert!(paused.note.unwrap().contains("paused"));
        let standby = named(&answer(&LEADER.replace("leader", "standby_leader"), "")).unwrap();
        assert!(standby.note.unwrap().contains("standby cluster"));
        assert!(named(&answer(OTHER, "")).is_none());
    }

    #[test]
    fn without_a_leader_the_one_that_stands_for_itself_goes_on() {
        let listed = answer(&format!("{},{OTHER}", LEADER.replace("leader", "replica")), "");
        let stands = [stand("http://h0:8008", true, ",\"cluster_unlocked\":true"), stand("http://h1:8008", false, "")];
        let seen = without_a_leader(Some(&listed), &stands, &listed.members);
        let Lead::Standing(members) = &seen.lead else { panic!("{seen:?}") };
        assert_eq!((members.len(), members[0].to_string().as_str()), (1, "`n0` at h0:1"));

        let nobody = without_a_leader(Some(&listed), &stands[1..], &listed.members);
        assert_eq!(nobody.lead, Lead::Standing(Vec::new()));
        assert!(nobody.note.unwrap().contains("writes wait"));
        let silent = without_a_leader(Some(&listed), &[], &listed.members);
        assert_eq!(silent.lead, Lead::Standing(Vec::new()), "the leader's Patroni may be gone and its server live on");
        let paused = answer(OTHER, ",\"pause\":true");
        assert_eq!(without_a_leader(Some(&paused), &[], &[]).lead, Lead::Unsaid, "by order, not by accident");
    }

    #[test]
    fn without_the_store_the_leader_that_goes_on_is_kept() {
        let listed = answer(&format!("{LEADER},{OTHER}"), "");
        let failsafe = stand("http://h0:8008", true, ",\"failsafe_mode_is_active\":true");
        let seen = without_a_leader(None, &[failsafe, stand("http://h1:8008", false, "")], &listed.members);
        assert_eq!(names(&seen.lead), ["n0"]);
        assert!(seen.note.unwrap().contains("failsafe"));
        let nobody = without_a_leader(None, &[stand("http://h1:8008", false, "")], &listed.members);
        assert_eq!(nobody.lead, Lead::Unsaid);
        assert!(nobody.note.unwrap().contains("cannot reach their store"));
        let silent = without_a_leader(None, &[], &listed.members);
        assert_eq!((names(&silent.lead), silent.note.unwrap().contains("do not answer")), (vec!["(unsaid)"], true));
    }

    #[test]
    fn an_address_is_not_taken_for_a_longer_one() {
        let known =
            answer(r#"{"name":"n0","role":"replica","host":"h","port":2,"api_url":"http://h:80080/patroni"}"#, "");
        let seen = standing(&stand("http://h:8008", true, ""), &known.members);
        assert_eq!((&*seen.name, seen.place), ("http://h:8008", None));
    }

    #[test]
    fn members_of_another_cluster_and_other_programs_are_wrong() {
        let id = ",\"database_system_identifier\":\"7\"";
        let good = [stand("http://h0:8008", true, id), stand("http://h1:8008", false, id)];
        assert_eq!(check(&good, &[], Some(7)), Checked::default());
        assert_eq!(check(&good, &[], None), Checked::default());
        assert!(check(&good, &[], Some(8)).wrong[0].contains("another cluster"));
        let mut mixed = good.clone();
        mixed[1].answer.scope = Some("t".into());
        assert!(check(&mixed, &[], Some(7)).wrong[0].contains("keep the members of one cluster"));
        let page =
            check(&good, &[("http://h2".into(), no_patroni("what answers is a web page, not Patroni"))], Some(7));
        assert!(page.wrong[0].contains("http://h2: what answers is a web page") && page.wrong[0].contains("write"));
    }

    #[test]
    fn a_version_that_loses_writes_is_told() {
        let mut old = stand("http://h0:8008", true, "");
        old.answer.version = Some(Version([3, 0, 2]));
        let notes = check(&[old], &[], None).notes;
        assert!(notes[0].contains("Patroni 3.0.2: before 3.0.3") && notes[0].contains("etcd3"), "{notes:?}");
    }
}
