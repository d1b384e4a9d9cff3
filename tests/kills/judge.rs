//! Kills, looks, and lets the next migrator finish.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dbopt_diesel::migrate::{Forward, Migrator};
use tokio::time::{Instant, sleep, timeout};

use super::Options;
use super::folder::is_alone;
use super::world::{Found, World};

/// How the database is after each number of versions, and how long a migrator takes that nobody kills.
struct Known {
    versions: Vec<String>,
    boundaries: Vec<Found>,
    /// The name of the database that has it all.
    full: String,
    forward: Duration,
    back: Duration,
}

/// What was met.
#[derive(Debug, Default)]
struct Tally {
    boundaries: BTreeMap<usize, usize>,
    begun_alone: usize,
    invalid: usize,
    too_late: usize,
}

pub(super) async fn run(options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new().await?;
    let known = learn(&mut world).await?;
    println!(
        "seed {seed}: {} versions, {} ms forward, {} ms back",
        known.versions.len(),
        known.forward.as_millis(),
        known.back.as_millis()
    );
    let mut kills = vec![false; options.runner];
    kills.resize(options.runner + options.server, true);
    random.shuffle(&mut kills);
    let mut tally = Tally::default();
    for (round, kill_server) in kills.into_iter().enumerate() {
        let back = round % 3 == 2;
        let whole = if back { known.back } else { known.forward };
        let moment = whole.mul_f64(random.f64());
        let done = one(&mut world, &known, &mut tally, back, kill_server, moment).await;
        let victim = if kill_server { "server" } else { "migrator" };
        let way = if back { "back" } else { "forward" };
        done.with_context(|| {
            format!("seed {seed}, round {round}: the {victim} was killed {} ms on the way {way}", moment.as_millis())
        })?;
    }
    let Tally { boundaries, begun_alone, invalid, too_late } = tally;
    let met: Vec<String> = boundaries.iter().map(|(n, times)| format!("{n}: {times}")).collect();
    println!(
        "{} migrators and {} servers were killed; versions that were there (and how often): {}",
        options.runner,
        options.server,
        met.join(", ")
    );
    println!(
        "cut off outside of a transaction: {begun_alone}, of which {invalid} left an invalid index; {too_late} had ended before"
    );
    Ok(())
}

/// Goes forward one version at a time.
async fn learn(world: &mut World) -> Result<Known> {
    let full = world.database(None).await?;
    let config = dbopt_tests::named([("primary", world.cluster.primary().url_for(&full))]);
    let migrator = Migrator::new(&config, world.folder.read())?;
    let versions: Vec<String> = migrator.migrations().list().iter().map(|m| m.version.clone()).collect();
    let mut boundaries = vec![world.look(&full).await?];
    for version in &versions {
        migrator.up(&Forward { to: Some(version.clone()), ..Forward::default() }).await?;
        boundaries.push(world.look(&full).await?);
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        let database = world.database(None).await?;
        for (back, times) in [false, true].into_iter().zip(&mut times) {
            let begun = Instant::now();
            world.finish(&database, back).await?;
            times.push(begun.elapsed());
        }
    }
    times.iter_mut().for_each(|times| times.sort());
    Ok(Known { versions, boundaries, full, forward: times[0][1], back: times[1][1] })
}

async fn one(
    world: &mut World,
    known: &Known,
    tally: &mut Tally,
    back: bool,
    kill_server: bool,
    moment: Duration,
) -> Result<()> {
    let database = world.database(back.then_some(known.full.as_str())).await?;
    let mut migrator = world.start(&database, back)?;
    sleep(moment).await;
    if kill_server {
        world.cluster.primary().kill().await?;
        timeout(Duration::from_secs(60), migrator.wait()).await.context("a migrator without a server has no end")??;
        world.cluster.primary().start().await?;
    } else {
        tally.too_late += usize::from(migrator.try_wait()?.is_some());
        migrator.kill().await?;
    }
    let found = world.look(&database).await?;
    judge(&found, known, tally)?;
    world.finish(&database, back).await.context("the next migrator")?;
    let after = world.look(&database).await?;
    let wanted = if back { 0 } else { known.versions.len() };
    boundary(&after, known, wanted)?;
    ensure!(after.invalid.is_empty(), "{:?} is left", after.invalid);
    ensure!(begun(&after).is_empty(), "something was begun and never ended: {:?}", after.history);
    world.cluster.drop_database(&database).await?;
    Ok(())
}

/// Right after the kill.
fn judge(found: &Found, known: &Known, tally: &mut Tally) -> Result<()> {
    let at = found.versions.len();
    *tally.boundaries.entry(at).or_default() += 1;
    let begun = begun(found);
    match begun.as_slice() {
        [] => {
            ensure!(found.invalid.is_empty(), "an invalid index nobody knows of: {:?}", found.invalid);
            boundary(found, known, at)
        }
        // The one thing that no transaction can hold: it stands in the history as begun.
        [(version, direction)] if is_alone(version) => {
            tally.begun_alone += 1;
            tally.invalid += usize::from(!found.invalid.is_empty());
            let next = if direction == "up" { at } else { at.saturating_sub(1) };
            ensure!(known.versions.get(next) == Some(version), "{version} was begun {direction} after {at} versions");
            let others = [next, next + 1];
            ensure!(
                others.iter().any(|n| known.boundaries[*n].content == found.content),
                "neither before nor after {version}: {:?}",
                difference(&known.boundaries[next], found)
            );
            ensure!(
                prefix(found, known, at) && agrees(found),
                "the history disagrees: {:?} {:?}",
                found.versions,
                found.history
            );
            Ok(())
        }
        more => bail!("begun and not ended: {more:?}"),
    }
}

fn boundary(found: &Found, known: &Known, at: usize) -> Result<()> {
    ensure!(prefix(found, known, at), "no boundary: {:?}", found.versions);
    ensure!(agrees(found), "the history disagrees: {:?} {:?}", found.versions, found.history);
    let wanted = &known.boundaries[at];
    ensure!(wanted.content == found.content, "after {at} versions: {:?}", difference(wanted, found));
    Ok(())
}

fn difference<'a>(wanted: &'a Found, found: &'a Found) -> Vec<&'a String> {
    wanted.content.symmetric_difference(&found.content).collect()
}

fn prefix(found: &Found, known: &Known, at: usize) -> bool {
    found.versions.iter().eq(known.versions.iter().take(at))
}

/// Each version is there as the last of its entries says that has ended.
fn agrees(found: &Found) -> bool {
    let mut applied = std::collections::BTreeSet::new();
    for [version, _, outcome] in &found.history {
        let right = match outcome.as_str() {
            "applied" => applied.insert(version.clone()),
            "reverted" => applied.remove(version),
            "started" => true,
            _ => false,
        };
        if !right {
            return false;
        }
    }
    applied == found.versions
}

/// Version and direction of what was begun outside of a transaction and has not ended.
fn begun(found: &Found) -> Vec<(String, String)> {
    let open = found.history.iter().filter(|[_, _, outcome]| outcome == "started");
    open.map(|[version, direction, _]| (version.clone(), direction.clone())).collect()
}
