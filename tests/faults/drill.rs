//! Drills: one thing again and again, or for long, under load, measured.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::fault::Fault;
use crate::fleet::Usage;
use crate::ledger;
use crate::plan::{Length, Plan, number};
use crate::scene::{Scene, Tally};
use crate::support::last;
use crate::wait::comes_true;

/// `worker.shutdown_timeout` of the fleet and a second.
const STOP_MAX: Duration = Duration::from_secs(16);
/// Longest time from the return of the database to the next delivery; the short form runs beside
/// other tests.
const RETURN_MAX: Duration = Duration::from_secs(2);
const RETURN_MAX_SHORT: Duration = Duration::from_secs(10);
/// Most that memory may grow in a soak, in per cent; in the short form workers are still young.
const DRIFT_MAX: u64 = 5;
const DRIFT_MAX_SHORT: u64 = 50;
/// Looks at the workers in a soak.
const SAMPLES: u32 = 60;

fn scene(seed: &str) -> (Scene, Rng) {
    let plan = Plan { length: Length::Faults(0), hostile: 0, ..Plan::from_env() };
    println!("{seed}: {plan}");
    (Scene::set(&plan), Rng::with_seed(plan.seed))
}

/// SIGTERM to a worker under load, `POSTRIDER_STOPS` times.
pub(crate) fn stops() {
    let (mut scene, mut rng) = scene("stops");
    let mut admin = scene.database.admin();
    let mut times = Vec::new();
    for _ in 0..number("POSTRIDER_STOPS").unwrap_or(3) {
        scene.recover();
        last(Duration::from_millis(rng.u64(200..1_000)));
        let index = rng.usize(..scene.fleet.len());
        let pid = scene.fleet.pid(index);
        let mut worker = None;
        let known = comes_true(STOP_MAX, || {
            worker = ledger::worker(&mut admin, pid);
            worker.is_some()
        });
        assert!(known, "a worker shows that it lives{}", scene.fleet.last_words());
        let began = Instant::now();
        assert!(scene.fleet.stop(index).success(), "a drain ends with code 0");
        times.push(began.elapsed());
        assert!(began.elapsed() < STOP_MAX, "{:?}", began.elapsed());
        let held = worker.map_or(0, |worker| ledger::held_by(&mut admin, worker));
        assert_eq!(held, 0, "messages that a stopped worker left leased");
    }
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{} stops: median {median:.1?}, at most {most:.1?}; no lease was left", times.len());
    // No fault explains a lease that ran out, nor a duplicate.
    println!("{}", scene.settle(&Tally::new()));
}

/// PostgreSQL away under load for `POSTRIDER_AWAY` seconds.
pub(crate) fn away() {
    let (mut scene, _) = scene("away");
    let long = number::<u64>("POSTRIDER_AWAY");
    scene.recover();
    last(Duration::from_secs(1));
    scene.allow(Fault::Away);
    scene.database.crash();
    last(Duration::from_secs(long.unwrap_or(8)));
    let before = scene.arrived();
    scene.database.restart();
    let back = Instant::now();
    let limit = if long.is_some() { RETURN_MAX } else { RETURN_MAX_SHORT };
    let resumed = comes_true(limit, || before < scene.arrived());
    assert!(resumed, "nothing is delivered {limit:?} later{}", scene.fleet.last_words());
    println!("deliveries went on {:.1?} after the database was back", back.elapsed());
    println!("all well after {:.1?}", scene.recover());
    last(Duration::from_secs(2)); // What was held up is enqueued and delivered now.
    println!("{}", scene.settle(&Tally::new()));
}

/// Nothing but load for `POSTRIDER_SOAK` minutes.
pub(crate) fn soak() {
    let (mut scene, _) = scene("soak");
    let long = number::<f64>("POSTRIDER_SOAK");
    let span = Duration::from_secs_f64(long.map_or(12.0, |minutes| 60.0 * minutes));
    let mut admin = scene.database.admin();
    scene.recover();
    let mut first = None;
    println!("      s  RSS of all/KiB  threads  descriptors  connections");
    for sample in 0..=SAMPLES {
        last(span / (SAMPLES + 1));
        let usages = scene.fleet.usage();
        let connections = scene.database.sessions().len();
        let sum = |of: fn(&Usage) -> u64| usages.iter().map(of).sum::<u64>();
        let resident = sum(|it| it.resident_kib);
        let (threads, files) = (sum(|it| it.threads as u64), sum(|it| it.files as u64));
        let at = (span / (SAMPLES + 1) * (sample + 1)).as_secs();
        println!("{at:7}  {resident:14}  {threads:7}  {files:11}  {connections:11}");
        // By now all buffers have the size that the load makes them.
        if sample == SAMPLES / 5 {
            first = Some((resident, threads, files, connections));
        }
        if let (Some(first), true) = (first, sample == SAMPLES) {
            let most = if long.is_some() { DRIFT_MAX } else { DRIFT_MAX_SHORT };
            assert!(resident * 100 <= first.0 * (100 + most), "memory grew from {} KiB", first.0);
            assert!(threads <= first.1, "threads grew from {}", first.1);
            assert!(connections <= first.3 + 1, "connections grew from {}", first.3);
            println!(
                "memory: {} KiB to {resident} KiB; descriptors: {} to {files}",
                first.0, first.2
            );
        }
    }
    println!("{} messages wait", ledger::live(&mut admin));
    println!("{}", scene.settle(&Tally::new()));
}
