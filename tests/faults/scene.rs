//! All that takes part in a run, and its course.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::database::Database;
use crate::fault::Fault;
use crate::fleet::{Addresses, Fleet};
use crate::hostile::Hostile;
use crate::ledger;
use crate::peer::{Fate, Peer};
use crate::plan::{Length, Plan};
use crate::producer::Producer;
use crate::proxy::Proxy;
use crate::support::last;
use crate::wait::{comes_true, wait_until};

/// Longest time from the end of a fault to the delivery of a message enqueued after it.
const RECOVERY_MAX: Duration = Duration::from_secs(45);
/// Longest time for the queue to run empty at the end.
const DRAIN_MAX: Duration = Duration::from_secs(90);
/// Quiet between two faults.
const QUIET_MS: std::ops::Range<u64> = 200..1_500;

/// All that takes part. Fields are dropped in order: who needs another goes before it.
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    producer: Option<Producer>,
    hostile: Option<Hostile>,
    pub(crate) to_database: Proxy,
    pub(crate) to_peer: Proxy,
    peer: Peer,
    pub(crate) database: Database,
    /// Leases that may have run out.
    lapses: u64,
}

/// What happened: each fault, and the times until all was well again.
pub(crate) type Tally = BTreeMap<Fault, Vec<Duration>>;

impl Scene {
    pub(crate) fn set(plan: &Plan) -> Self {
        let (database, peer) = (Database::start(), Peer::start());
        let to_database = Proxy::start(database.address());
        let to_peer = Proxy::start(peer.sink.address());
        let addresses = Addresses {
            database_url: Database::url_by(to_database.address()),
            peer: to_peer.address(),
        };
        let fleet = Fleet::start(addresses, plan.workers);
        let producer = Some(Producer::start(database.admin_url(), plan.rate));
        let hostile =
            (0 < plan.hostile).then(|| Hostile::start(&database, plan.seed, plan.hostile));
        Self { fleet, producer, hostile, to_database, to_peer, peer, database, lapses: 0 }
    }

    /// Lets fault after fault happen.
    pub(crate) fn play(&mut self, plan: Plan) -> Tally {
        let mut rng = Rng::with_seed(plan.seed);
        let mut lots = Fault::ALL.to_vec();
        rng.shuffle(&mut lots);
        let began = Instant::now();
        let mut tally = Tally::new();
        self.recover();
        for count in 0.. {
            let fault = lots[count % lots.len()];
            let goes_on = match plan.length {
                Length::Faults(most) => count < most,
                Length::Time(span) => began.elapsed() < span,
            };
            if !goes_on {
                break;
            }
            if count % lots.len() == lots.len() - 1 {
                rng.shuffle(&mut lots);
            }
            last(Duration::from_millis(rng.u64(QUIET_MS)));
            println!("{:6.1} s  {fault:?}", began.elapsed().as_secs_f64());
            self.allow(fault);
            fault.strike(self, &mut rng);
            let took = self.recover();
            println!("{:6.1} s  well again after {took:.1?}", began.elapsed().as_secs_f64());
            tally.entry(fault).or_default().push(took);
        }
        tally
    }

    /// Lets a fault last, and sometimes kills a worker meanwhile, but not the one that is `spared`.
    pub(crate) fn hold(&mut self, span: Duration, rng: &mut Rng, spared: Option<usize>) {
        last(span / 2);
        let index = rng.usize(..self.fleet.len());
        if rng.u32(..3) == 0 && spared != Some(index) {
            println!("          and Kill");
            self.allow(Fault::Kill);
            self.fleet.kill(index);
        }
        last(span / 2);
    }

    pub(crate) fn allow(&mut self, fault: Fault) {
        self.lapses += fault.lapses(u64::try_from(self.fleet.len()).unwrap());
    }

    /// Waits until a message that is enqueued from now on is delivered; returns how long it took.
    pub(crate) fn recover(&mut self) -> Duration {
        let began = Instant::now();
        let before = self.producer.as_ref().unwrap().begun();
        let well = comes_true(RECOVERY_MAX, || before < self.peer.newest());
        assert!(well, "nothing is delivered {RECOVERY_MAX:?} later{}", self.fleet.last_words());
        self.fleet.assert_alive();
        self.fleet.note_usage();
        began.elapsed()
    }

    /// Requests that reached the peer.
    pub(crate) fn arrived(&self) -> u64 {
        self.peer.sink.arrivals().total()
    }

    /// Lets the queue run empty, and checks everything. Returns the report.
    pub(crate) fn settle(mut self, tally: &Tally) -> String {
        let enqueued = self.producer.take().unwrap().stop();
        let (taken, _peers) = self.hostile.take().map(Hostile::stop).unzip();
        let mut admin = self.database.admin();
        let mut left = 0;
        let empty = comes_true(DRAIN_MAX, || {
            left = ledger::live(&mut admin);
            left == 0
        });
        assert!(empty, "{left} messages are not final{}", self.fleet.last_words());
        self.fleet.assert_alive();
        self.fleet.assert_usage();
        let all_found = comes_true(DRAIN_MAX, || ledger::astray(&mut admin) == 0);
        assert!(all_found, "messages are astray{}", self.fleet.last_words());
        let books = ledger::audit(&mut admin, &self.peer.answers(), enqueued, self.lapses);
        let arrived = self.peer.sink.arrivals().total();
        self.fleet.finish();
        wait_until(DRAIN_MAX, "workers take leave", || ledger::workers(&mut admin) == 0);
        let gone = (1..=enqueued).filter(|it| Fate::of(*it) == Fate::Gone).count();
        let mut report = format!(
            "\n{enqueued} messages, {gone} of them refused for good; {arrived} arrivals\n{books}\n\n"
        );
        if let Some(taken) = taken {
            writeln!(report, "{taken} hostile calls were taken\n").unwrap();
        }
        report += "| fault | drawn | well again after, median | at most |\n|---|---|---|---|\n";
        for (fault, times) in tally {
            let mut times = times.clone();
            times.sort_unstable();
            let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
            writeln!(report, "| {fault:?} | {} | {median:.1?} | {most:.1?} |", times.len())
                .unwrap();
        }
        report
    }
}
