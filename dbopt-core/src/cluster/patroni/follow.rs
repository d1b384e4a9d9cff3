//! Asks Patroni's members in turn, and tells the cluster what follows.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::answer::{self, ClusterAnswer, Listed, SelfAnswer};
use super::ask::{Address, Answer, Blame, Http, Unheard};
use super::config::PatroniConfig;
use super::lead::{Lead, Said};
use super::settled::{self, Checked, Settled, Stand};
use crate::backend::Upstream;
use crate::cluster::{Cluster, Config, Mode};
use crate::random;

/// So many rounds without any answer, and Patroni's last word does not hold any more.
const SILENT_ROUNDS: u32 = 3;

/// How often versions and the like are looked at again.
const CLOSER_LOOK: Duration = Duration::from_secs(60);

/// Patroni's own default.
const TTL: Duration = Duration::from_secs(30);

/// While there is a doubt about the leader, so much of the interval lies between two rounds.
const HURRY: f64 = 0.25;

/// Between two rounds when the lock may be another's at any moment.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Two rounds are never closer than this, whatever happens.
const GAP: Duration = Duration::from_millis(50);

/// How often a leader's Patroni is asked again that did not answer, and for how long: nobody waits for it.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_LIMIT: Duration = Duration::from_millis(200);

/// Follows Patroni's leader.
pub(crate) struct Follower {
    knobs: PatroniConfig,
    cluster: Arc<Cluster>,
    http: Http,
    addresses: Vec<Address>,
    /// Who is asked first: whoever answered last.
    first: usize,
    /// The members as they were listed last.
    known: Vec<Listed>,
    silent: u32,
    /// What the cluster is called, where all that were asked agree.
    scope: Option<Arc<str>>,
    /// Which address is the leader's own, and since when nobody answers there.
    leader: Option<usize>,
    leader_silent: Option<Instant>,
    /// When the leader was asked last although it is silent.
    asked_again: Instant,
    said: Said,
    /// What a closer look found.
    checked: Checked,
    looked: Instant,
}

impl Follower {
    /// `None` when Patroni is not to be followed.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn new(config: &Config, cluster: Arc<Cluster>) -> Result<Option<Self>, Vec<String>> {
        if config.mode != Mode::Patroni {
            return Ok(None);
        }
        let knobs = config.patroni.clone();
        let addresses = knobs.urls.iter().map(Address::new).collect::<Result<_, _>>();
        let addresses = addresses.map_err(|why| vec![format!("cluster.patroni.urls: {why}")])?;
        let http = Http::new(&knobs.sslrootcert).map_err(|why| vec![why])?;
        Ok(Some(Follower {
            knobs,
            cluster,
            http,
            addresses,
            first: 0,
            known: Vec::new(),
            silent: SILENT_ROUNDS,
            scope: None,
            leader: None,
            leader_silent: None,
            asked_again: Instant::now(),
            said: Said { ttl: TTL, ..Said::default() },
            checked: Checked::default(),
            looked: Instant::now(),
        }))
    }

    /// The first look. Members that do not answer are no mistake: they may be down.
    ///
    /// # Errors
    /// When what answers is not Patroni, or of another cluster; each with what to write instead.
    pub(crate) async fn begin(&mut self) -> Result<(), Vec<String>> {
        self.look_closer().await;
        if !self.checked.wrong.is_empty() {
            return Err(std::mem::take(&mut self.checked.wrong));
        }
        self.ask().await;
        Ok(())
    }

    /// Asks for ever; ends when the future is dropped.
    pub(crate) async fn run(mut self) {
        let mut changes = self.cluster.changes();
        loop {
            self.pause(&mut changes).await;
            let calm = self.leader_silent.is_none() && !self.is_in_doubt();
            if calm && self.looked.elapsed() > CLOSER_LOOK {
                self.look_closer().await;
            }
            self.ask().await;
        }
    }

    /// Until the next round: soon when the primary is in doubt, or becomes so.
    async fn pause(&self, changes: &mut watch::Receiver<u64>) {
        let began = Instant::now();
        let mut until = began + self.pace().mul_f64(0.9 + 0.2 * random::fraction());
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return sleep_until(until).await;
                    }
                    if self.cluster.topology().primary.is_none() {
                        until = until.min(Instant::now().max(began + GAP));
                    }
                }
            }
        }
    }

    fn pace(&self) -> Duration {
        let (usual, ttl) = (self.knobs.interval, self.said.ttl);
        let hurry = usual.mul_f64(HURRY).max(GAP);
        match self.leader_silent.map(|since| since.elapsed()) {
            // Its server may live on, and take writes until somebody else is known to be the leader.
            Some(silent) if (ttl / 2..ttl * 2).contains(&silent) => hurry.min(AT_ONCE),
            Some(silent) if silent < ttl => hurry,
            _ if self.is_in_doubt() => hurry,
            _ => usual,
        }
    }

    /// Whether Patroni could tell something new at any moment, or has told what SQL does not confirm.
    fn is_in_doubt(&self) -> bool {
        match &self.said.lead {
            // Nobody answers: asking more often would not help.
            Lead::Unsaid => false,
            Lead::Standing(members) => members.is_empty() || self.cluster.topology().primary.is_none(),
            Lead::Named { .. } => self.cluster.topology().primary.is_none(),
        }
    }

    /// Asks who leads, and publishes what follows.
    async fn ask(&mut self) {
        let listed = self.list().await;
        let named = listed.as_ref().and_then(settled::named);
        if let Some(listed) = &listed {
            self.known.clone_from(&listed.members);
            self.note_leader(listed);
        }
        let settled = match named {
            Some(settled) => settled,
            None => {
                let stands = self.stands().await;
                settled::without_a_leader(listed.as_ref(), &stands, &self.known)
            }
        };
        let answered = listed.is_some() || settled.lead != Lead::Unsaid;
        self.silent = if answered { 0 } else { self.silent.saturating_add(1) };
        // One round that went wrong is no reason to believe somebody else.
        if answered || self.silent >= SILENT_ROUNDS {
            self.publish(settled).await;
        }
        if self.is_in_doubt() {
            // Whoever was asked may be the one who is cut off.
            self.first = (self.first + 1) % self.addresses.len();
            self.cluster.recheck_leader();
        }
    }

    async fn publish(&mut self, settled: Settled) {
        self.said.lead = settled.lead;
        self.said.notes =
            settled.note.into_iter().chain(self.checked.wrong.clone()).chain(self.checked.notes.clone()).collect();
        self.resolve().await;
        self.cluster.patroni_says(self.said.clone());
    }

    /// The first list of members that is to be had. The leader is asked first, so that it is noticed when its Patroni is gone.
    async fn list(&mut self) -> Option<ClusterAnswer> {
        let limit = self.knobs.timeout;
        // One that was silent is asked again now and then, and nobody waits for it while others answer.
        let is_due = self.leader_silent.is_none() || self.asked_again.elapsed() > AGAIN;
        if let Some(leader) = self.leader.filter(|_| is_due) {
            let limit = if self.leader_silent.is_some() { limit.min(AGAIN_LIMIT) } else { limit };
            self.asked_again = Instant::now();
            if let Some(listed) = self.list_of(leader, limit).await {
                self.leader_silent = None;
                return Some(listed);
            }
            self.leader_silent = self.leader_silent.or(Some(self.asked_again));
        }
        for n in 0..self.addresses.len() {
            let i = (self.first + n) % self.addresses.len();
            if Some(i) != self.leader
                && let Some(listed) = self.list_of(i, limit).await
            {
                self.first = i;
                return Some(listed);
            }
        }
        match self.leader {
            Some(leader) => self.list_of(leader, limit).await,
            None => None,
        }
    }

    async fn list_of(&self, i: usize, limit: Duration) -> Option<ClusterAnswer> {
        let address = &self.addresses[i];
        let answer = self.get(address, "/cluster", limit).await.map_err(|why| why.why);
        match answer.and_then(|answer| ClusterAnswer::read(&answer.text)) {
            // Somebody else's members may have the same names.
            Ok(listed) if listed.scope.is_some() && self.scope.is_some() && listed.scope != self.scope => None,
            Ok(listed) => Some(listed),
            Err(why) => {
                tracing::debug!(address = address.base, "Patroni does not tell who leads: {why}");
                None
            }
        }
    }

    /// Notes which address is the leader's, if it is one of the settings'.
    fn note_leader(&mut self, listed: &ClusterAnswer) {
        let Some(leader) = listed.leader() else { return };
        let api = Address::of(leader);
        let is_it = |address: &Address| api.as_ref().is_some_and(|api| api.base == address.base);
        let address = self.addresses.iter().position(is_it);
        if address != self.leader {
            (self.leader, self.leader_silent) = (address, None);
        }
    }

    /// What all members say of themselves, each asked at its own address.
    async fn stands(&self) -> Vec<Stand> {
        let mut all: BTreeMap<String, Address> = BTreeMap::new();
        let listed = self.known.iter().filter_map(Address::of);
        for address in self.addresses.iter().cloned().chain(listed) {
            all.entry(address.base.clone()).or_insert(address);
        }
        let asked = all.values().map(async |address| self.stand(address, "/primary").await.ok());
        let mut stands: Vec<Stand> = join_all(asked).await.into_iter().flatten().collect();
        // One member may be known by two addresses.
        let mut seen = Vec::new();
        stands.retain(|stand| {
            let Some(name) = &stand.answer.name else { return true };
            let news = !seen.contains(name);
            seen.push(name.clone());
            news
        });
        stands
    }

    /// What a member says of itself.
    async fn stand(&self, address: &Address, path: &str) -> Result<Stand, Refused> {
        let answer = self.get(address, path, self.knobs.timeout).await.map_err(Refused::of)?;
        match SelfAnswer::read(&answer.text) {
            Ok(own) => {
                let holds = own.is_primary && answer.status == 200;
                Ok(Stand { address: address.base.clone(), answer: own, holds })
            }
            // A balancer says so of a member that is down.
            Err(why) if matches!(answer.status, 502..=504) => Err(Refused::Silent(why)),
            Err(why) => Err(Refused::Other(settled::no_patroni(&why))),
        }
    }

    async fn get(&self, address: &Address, path: &str, limit: Duration) -> Result<Answer, Unheard> {
        match timeout(limit, self.http.get(address, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unheard::silent(format!("no answer within {limit:?}"))),
        }
    }

    /// Looks at versions, at whether all members are of this cluster, and at how long the lock holds.
    async fn look_closer(&mut self) {
        self.looked = Instant::now();
        let this = &*self;
        let asked = this.addresses.iter().map(async |address| (address, this.stand(address, "/patroni").await));
        let (mut stands, mut others, mut faulty, mut ttl) = (Vec::new(), Vec::new(), Vec::new(), None);
        for (address, stand) in join_all(asked).await {
            match stand {
                Ok(stand) => stands.push(stand),
                Err(Refused::Other(why)) => others.push((address.base.clone(), why)),
                Err(Refused::Faulty(why)) => faulty.push(format!("{}: {why}", address.base)),
                Err(Refused::Silent(why)) => {
                    tracing::debug!(address = address.base, "a member of Patroni does not answer: {why}");
                }
            }
        }
        if let Some(stand) = stands.first()
            && let Some(address) = self.addresses.iter().find(|address| address.base == stand.address)
        {
            ttl = self
                .get(address, "/config", self.knobs.timeout)
                .await
                .ok()
                .and_then(|answer| answer::ttl(&answer.text));
        }
        if let Some(ttl) = ttl {
            self.said.ttl = Duration::from_secs(ttl);
        }
        self.checked = settled::check(&stands, &others, self.cluster.system_identifier());
        self.checked.notes.extend(faulty);
        if self.checked.wrong.is_empty() {
            self.scope = stands.iter().find_map(|stand| stand.answer.scope.clone()).or(self.scope.take());
        }
    }

    /// Finds the addresses of the names that members are listed by.
    async fn resolve(&self) {
        let places: Vec<Upstream> = self.known.iter().filter_map(|member| member.place.clone()).collect();
        for host in self.cluster.unresolved_of(&places) {
            let looked_up = timeout(self.knobs.timeout, tokio::net::lookup_host((&*host, 0))).await;
            let found = looked_up.ok().and_then(Result::ok);
            let addresses: Vec<IpAddr> = found.map_or_else(Vec::new, |found| found.map(|a| a.ip()).collect());
            self.cluster.resolves(host, addresses);
        }
    }
}

/// Why there is nothing to read.
enum Refused {
    Silent(String),
    /// It is a member that cannot be asked until somebody changes something there.
    Faulty(String),
    /// Something else answers, or nobody who is trusted; with what to write.
    Other(String),
}

impl Refused {
    fn of(unheard: Unheard) -> Self {
        match unheard.blame {
            Blame::Nobody => Refused::Silent(unheard.why),
            Blame::Member => Refused::Faulty(unheard.why),
            Blame::Settings => Refused::Other(unheard.why),
        }
    }
}
