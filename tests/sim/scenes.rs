//! Scripted scenes instead of random ones: the division of work among goals, and pools that go and
//! come back. The invariants are checked after every event of these too.

use crate::plan::{Plan, SECOND};
use crate::trace::{Record, Trace};
use crate::world::{End, Memory, World};

/// Time for all miners to connect and for every pool to be trusted.
const SETTLED: u64 = 60 * SECOND;

/// Plays a scene with a farm without random faults.
fn scene<T>((plan, rng): (Plan, crate::rng::Rng), play: impl FnOnce(&mut World<'_>) -> T) -> T {
    let mut memory = Memory::new(&plan);
    let mut trace = Trace::new(Record::Hash);
    let mut world = World::new(plan, rng, &mut memory, &mut trace);
    world.run_until(SETTLED, |_| false);
    play(&mut world)
}

/// The part of each pool in the next shares' work.
fn parts(world: &mut World<'_>, shares: u64) -> Vec<f64> {
    let pools = world.pools.len();
    world.checks.work = vec![(0, 0.0); pools];
    let count = |world: &World<'_>| world.checks.work.iter().map(|(shares, _)| shares).sum::<u64>();
    let end = world.now + 20_000 * SECOND;
    assert!(world.run_until(end, |world| count(world) >= shares), "too few shares");
    let all: f64 = world.checks.work.iter().map(|(_, work)| work).sum();
    world.checks.work.iter().map(|(_, work)| work / all).collect()
}

#[track_caller]
fn holds(parts: &[f64], weights: &[u16], what: &str) {
    println!("{what}: {parts:.4?} for {weights:?}");
    let all: u16 = weights.iter().sum();
    for (part, weight) in parts.iter().zip(weights) {
        let due = f64::from(*weight) / f64::from(all);
        assert!((part - due).abs() <= 0.02, "{what}: {parts:.3?} for {weights:?}");
    }
}

/// The pool of every connected miner's job, if it is the same.
fn pool_of_all(world: &World<'_>) -> Option<u8> {
    let mut pools = world.miners.iter().map(|miner| miner.newest().map(|work| work.origin.0));
    let first = pools.next()??;
    pools.all(|pool| pool == Some(first)).then_some(first)
}

/// Each miner's number of received jobs, and of clean ones.
fn told(world: &World<'_>) -> Vec<(usize, u32)> {
    let conns = world.conns.iter();
    conns
        .filter(|conn| conn.gateway_open && matches!(conn.end, End::Miner { .. }))
        .map(|conn| (conn.view.told.len(), conn.view.clean))
        .collect()
}

#[test]
fn weights_hold_within_two_percent_over_1000_shares() {
    crate::quietly();
    let mut after: &[u16] = &[30, 70];
    for weights in [&[50, 50][..], &[70, 30], &[90, 9, 1]] {
        for miners in [1, 8, 100] {
            scene(Plan::quiet(miners, weights.len(), weights), |world| {
                let what = format!("{miners} miners");
                holds(&parts(world, 1_000), weights, &what);
                let mut options = world.options.clone();
                options.links.weights[..weights.len()].fill(1);
                options.links.weights[..after.len()].copy_from_slice(after);
                let changed = options.links.weights[..weights.len()].to_vec();
                world.change(options);
                holds(&parts(world, 1_000), &changed, &format!("{what}, changed live"));
                assert_eq!(world.checks.ended, 0, "{what}: nobody is disconnected");
            });
        }
        after = weights;
    }
}

#[test]
fn f58_a_dead_pool_is_left_within_5_s_for_one_clean_notify() {
    crate::quietly();
    for standby in [true, false] {
        let (mut plan, rng) = Plan::quiet(8, 2, &[1]);
        plan.standby = standby;
        plan.failover = if standby { 5 } else { 3 } * SECOND;
        plan.pools.iter_mut().for_each(|pool| pool.job_every = 100 * SECOND);
        plan.keepalive = 100 * SECOND;
        scene((plan, rng), |world| {
            assert_eq!(pool_of_all(world), Some(0));
            let (before, start) = (told(world), world.now);
            world.down(0, 60 * SECOND);
            let moved = world.run_until(start + 5 * SECOND, |world| pool_of_all(world) == Some(1));
            assert!(moved, "standby {standby}: not within 5 s");
            let expected: Vec<_> =
                before.iter().map(|(jobs, clean)| (jobs + 1, clean + 1)).collect();
            assert_eq!(told(world), expected, "standby {standby}");
            assert_eq!(world.checks.ended, 0, "nobody is disconnected");
        });
    }
}

#[test]
fn a_pool_that_answers_nothing_is_left_within_5_s_though_its_jobs_go_on() {
    crate::quietly();
    scene(Plan::quiet(8, 2, &[1]), |world| {
        assert_eq!(pool_of_all(world), Some(0));
        world.deafen(0);
        let asked = |world: &World<'_>| {
            let waits = world.conns.iter().filter(|conn| conn.gateway_open);
            waits.flat_map(|conn| &conn.outstanding).map(|(_, since)| *since).min()
        };
        let end = world.now + 20 * SECOND;
        assert!(world.run_until(end, |world| asked(world).is_some()), "no share went out");
        let since = asked(world).unwrap();
        let moved = world.run_until(since + 5 * SECOND, |world| pool_of_all(world) == Some(1));
        assert!(moved, "not within 5 s of the first share without an answer");
        assert_eq!(world.checks.ended, 0, "nobody is disconnected");
    });
}

#[test]
fn f58_the_first_pool_serves_again_once_it_has_been_healthy() {
    crate::quietly();
    let (plan, rng) = Plan::quiet(8, 2, &[1]);
    let healthy = plan.healthy;
    scene((plan, rng), |world| {
        world.down(0, 30 * SECOND);
        let back = world.now + 30 * SECOND;
        assert!(!world.run_until(back + healthy, |world| {
            world.now > back && pool_of_all(world) == Some(0)
        }));
        assert_eq!(pool_of_all(world), Some(1), "not before it is trusted again");
        // It is dialled again after the back-off at the latest.
        let end = back + healthy + world.plan.retry_max + 5 * SECOND;
        assert!(world.run_until(end, |world| pool_of_all(world) == Some(0)));
        assert_eq!(world.checks.ended, 0, "nobody is disconnected");
    });
}

#[test]
fn a_goal_that_is_away_gets_nothing_and_its_part_afterwards() {
    crate::quietly();
    for miners in [1, 8] {
        scene(Plan::quiet(miners, 2, &[70, 30]), |world| {
            holds(&parts(world, 1_000), &[70, 30], "before");
            world.down(1, 200 * SECOND);
            let back = world.now + 200 * SECOND;
            assert!(world.run_until(back, |world| pool_of_all(world) == Some(0)));
            // What was found before is still on its way.
            world.run_until(world.now + 5 * SECOND, |_| false);
            let done = world.checks.work[1];
            world.run_until(back, |_| false);
            assert_eq!(world.checks.work[1], done, "while it is away");
            let is_live = |world: &World<'_>| world.proxy.split().serves(1);
            assert!(world.run_until(back + 30 * SECOND, is_live), "it comes back");
            holds(&parts(world, 1_000), &[70, 30], "afterwards");
            assert_eq!(world.checks.ended, 0, "nobody is disconnected");
        });
    }
}
