//! What can go wrong, and how it is made to.

use std::time::Duration;

use fastrand::Rng;

use crate::fleet::{IN_FLIGHT_MAX, LEASE};
use crate::proxy::Mode;
use crate::scene::Scene;
use crate::support::{last, signal};

/// Longer than a lease, and shorter than one.
const LONG: Duration = Duration::from_millis(5_500);
const SHORT: Duration = Duration::from_millis(1_500);
/// Messages in one acquire of a worker that keeps up.
const LOST_MAX: u64 = 8;
const _: () = assert!(LEASE.as_millis() < LONG.as_millis());

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL to a worker.
    Kill,
    /// SIGTERM to a worker.
    Stop,
    /// SIGSTOP to a worker for longer than a lease.
    Freeze,
    /// An immediate shutdown of PostgreSQL, and a start.
    Crash,
    /// PostgreSQL away for longer than a lease.
    Away,
    /// `pg_terminate_backend` for all sessions of workers.
    Terminate,
    /// `pg_cancel_backend` a few times: the end of a statement by its timeout looks the same.
    Cancel,
    /// The queue locked for longer than `lock_timeout`.
    Lock,
    /// `default_transaction_read_only`.
    ReadOnly,
    /// No connection left for a worker.
    Exhaust,
    /// SIGSTOP to sessions of workers for longer than a lease.
    FreezeSessions,
    /// The way to the database is slow, cut, or swallows all.
    Database(Way),
    /// The way to the peer is.
    Peer(Way),
}

/// What is wrong with a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Slow,
    Cut,
    /// Open again after longer than a lease.
    Hole,
    /// Cut after longer than a lease.
    HoleThenCut,
}

impl Fault {
    pub(crate) const ALL: [Self; 19] = [
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::Crash,
        Self::Away,
        Self::Terminate,
        Self::Cancel,
        Self::Lock,
        Self::ReadOnly,
        Self::Exhaust,
        Self::FreezeSessions,
        Self::Database(Way::Slow),
        Self::Database(Way::Cut),
        Self::Database(Way::Hole),
        Self::Database(Way::HoleThenCut),
        Self::Peer(Way::Slow),
        Self::Peer(Way::Cut),
        Self::Peer(Way::Hole),
        Self::Peer(Way::HoleThenCut),
    ];

    /// Leases that may run out unsettled, of so many workers. A fault that is over before they
    /// are costs no outcome, but the answer to an acquire may be lost, and with it its leases.
    pub(crate) fn lapses(self, workers: u64) -> u64 {
        match self {
            Self::Stop | Self::Peer(_) => 0,
            Self::Kill | Self::Freeze => IN_FLIGHT_MAX,
            Self::Crash
            | Self::Terminate
            | Self::Cancel
            | Self::ReadOnly
            | Self::Database(Way::Slow | Way::Cut) => workers * LOST_MAX,
            Self::Away
            | Self::Lock
            | Self::Exhaust
            | Self::FreezeSessions
            | Self::Database(Way::Hole | Way::HoleThenCut) => workers * IN_FLIGHT_MAX,
        }
    }

    /// Makes it happen, lets it last, and takes it back.
    pub(crate) fn strike(self, scene: &mut Scene, rng: &mut Rng) {
        let index = rng.usize(..scene.fleet.len());
        match self {
            Self::Kill => scene.fleet.kill(index),
            Self::Stop => assert!(scene.fleet.stop(index).success(), "a drain ends with code 0"),
            Self::Freeze => {
                let pid = scene.fleet.pid(index);
                signal("STOP", pid);
                scene.hold(LONG, rng, Some(index));
                signal("CONT", pid);
            }
            Self::Crash => {
                scene.database.crash();
                scene.database.restart();
            }
            Self::Away => {
                scene.database.crash();
                scene.hold(LONG, rng, None);
                scene.database.restart();
            }
            Self::Terminate => scene.database.for_each_session("pg_terminate_backend"),
            Self::Cancel => {
                for _ in 0..rng.u32(1..50) {
                    scene.database.for_each_session("pg_cancel_backend");
                }
            }
            Self::Lock => lock(scene),
            Self::ReadOnly => read_only(scene),
            Self::Exhaust => exhaust(scene),
            Self::FreezeSessions => freeze_sessions(scene, rng),
            Self::Database(way) => trouble(scene, rng, Side::Database, way),
            Self::Peer(way) => trouble(scene, rng, Side::Peer, way),
        }
    }
}

fn lock(scene: &mut Scene) {
    let mut admin = scene.database.admin();
    let mut tx = admin.transaction().unwrap();
    tx.batch_execute("lock table postrider.messages in access exclusive mode").unwrap();
    last(SHORT * 2);
    tx.rollback().unwrap();
}

fn read_only(scene: &mut Scene) {
    let mut admin = scene.database.admin();
    admin.batch_execute("alter system set default_transaction_read_only = on").unwrap();
    admin.batch_execute("select pg_reload_conf()").unwrap();
    last(SHORT);
    admin.batch_execute("alter system reset default_transaction_read_only").unwrap();
    admin.batch_execute("select pg_reload_conf()").unwrap();
}

fn exhaust(scene: &mut Scene) {
    let mut taken = Vec::new();
    // Sessions of workers end, and before they are back, all places are taken.
    scene.database.for_each_session("pg_terminate_backend");
    while let Ok(client) = scene.database.as_worker() {
        taken.push(client);
    }
    scene.database.for_each_session("pg_terminate_backend");
    while let Ok(client) = scene.database.as_worker() {
        taken.push(client);
    }
    last(SHORT);
}

fn freeze_sessions(scene: &mut Scene, rng: &mut Rng) {
    let mut pids = scene.database.sessions();
    rng.shuffle(&mut pids);
    pids.truncate(rng.usize(1..=pids.len().max(1)));
    for pid in &pids {
        signal("STOP", *pid);
    }
    // Even so there are new ones after a while, unless a frozen one has a lock that all need.
    scene.hold(LONG, rng, None);
    for pid in &pids {
        signal("CONT", *pid);
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Database,
    Peer,
}

fn trouble(scene: &mut Scene, rng: &mut Rng, side: Side, way: Way) {
    let set = |scene: &Scene, mode| match side {
        Side::Database => scene.to_database.set(mode),
        Side::Peer => scene.to_peer.set(mode),
    };
    let (mode, span) = match way {
        Way::Slow => (Mode::Slow, SHORT * 2),
        Way::Cut => (Mode::Cut, SHORT),
        Way::Hole | Way::HoleThenCut => (Mode::Hole, LONG),
    };
    set(scene, mode);
    scene.hold(span, rng, None);
    if way == Way::HoleThenCut {
        set(scene, Mode::Cut);
        last(SHORT / 10);
    }
    set(scene, Mode::Open);
}
