//! Upkeep: partitions, retention, expiry, and whose turn it is.

use std::thread;
use std::time::{Duration, SystemTime};

use postrider::clock::Clock;
use postrider::config::{DatabaseConfig, RetentionConfig};
use postrider::enqueue::Notification;
use postrider::store::connect::Connector;
use postrider::store::postgres::PgStore;
use postrider::store::upkeep::{Step, Upkeep, WorkerInfo};
use postrider::store::{Store, admin};
use uuid::Uuid;

use crate::rig::{LIMIT, Leases, Rig, deferred, failed, sent, settle, to_inbox};
use crate::support::wait_until;

const DAY: Duration = Duration::from_hours(24);
const KEEP: RetentionConfig = RetentionConfig {
    sent: DAY.saturating_mul(7),
    failed: DAY.saturating_mul(30),
    attempts: DAY.saturating_mul(30),
    dedupe: None,
};

struct Keeper {
    upkeep: Upkeep,
    worker: WorkerInfo,
}

impl Keeper {
    fn new(rig: &Rig) -> Self {
        let upkeep = Upkeep::new(rig.connector(), KEEP);
        Self { upkeep, worker: WorkerInfo { id: Uuid::new_v4(), host: "host".into() } }
    }

    /// Does a round, each step of which must succeed, and returns how many steps it had.
    #[track_caller]
    fn round(&mut self) -> usize {
        let steps = self.upkeep.round(&self.worker, &Clock::default(), drop);
        let failed: Vec<&Step> = steps.iter().filter(|(_, result)| result.is_err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        steps.len()
    }
}

impl Rig {
    /// Days from today of the partitions of a table of history, in order.
    fn days(&mut self, parent: &str) -> Vec<i32> {
        let sql = format!(
            "select to_date(right(c.relname, 8), 'YYYYMMDD') - (now() at time zone 'UTC')::date
               from pg_inherits join pg_class c on c.oid = inhrelid
              where inhparent = 'postrider.{parent}'::regclass and c.relname ~ '_[0-9]{{8}}$' order by 1"
        );
        self.client.query(&sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    /// Makes a partition for the day that is `day` days from today.
    fn make_day(&mut self, parent: &str, day: i32) {
        let sql = format!(
            "set timezone = 'UTC';
             do $$ begin execute format('create table postrider.%I partition of postrider.{parent}
                 for values from (%L) to (%L)', '{parent}_' || to_char(current_date + {day}, 'YYYYMMDD'),
                 current_date + {day}, current_date + {day} + 1); end $$"
        );
        self.client.batch_execute(&sql).unwrap();
    }

    fn drop_days(&mut self) {
        for parent in ["history_sent", "history_failed"] {
            let sql = "do $$ declare t regclass; begin
                for t in select inhrelid::regclass from pg_inherits
                    where inhparent = 'postrider.PARENT'::regclass and inhrelid::regclass::text !~ 'default'
                loop execute 'drop table ' || t; end loop; end $$";
            self.client.batch_execute(&sql.replace("PARENT", parent)).unwrap();
        }
    }

    /// Moves one message to history, as if it had ended `days` days from now.
    fn end(&mut self, sent_it: bool, days: i32) {
        self.fill(1);
        let mut store = self.store();
        let leases = store.leases(1, true);
        let outcome = if sent_it { sent() } else { failed() };
        store.commit(&settle(leases, &outcome)).unwrap();
        let sql = "update postrider.history set finished_at = now() + make_interval(days => $1)
                    where finished_at > now() - interval '1 minute' and finished_at <= now()";
        self.execute(sql, &[&days]);
    }
}

#[test]
fn partitions_are_made_ahead() {
    let mut rig = Rig::new();
    rig.drop_days();
    Keeper::new(&rig).round();
    for parent in ["history_sent", "history_failed"] {
        assert_eq!(rig.days(parent), [-1, 0, 1, 2, 3]);
    }
    rig.end(true, 0);
    assert_eq!(rig.count("history_sent_default"), 0);
}

#[test]
fn history_is_dropped_a_day_at_a_time_once_its_last_message_is_past_retention() {
    let mut rig = Rig::new();
    rig.drop_days();
    for day in [-40, -32, -31, -30, -29, -9, -8, -7, -6] {
        rig.make_day("history_sent", day);
        rig.make_day("history_failed", day);
    }
    Keeper::new(&rig).round();
    assert_eq!(rig.days("history_sent"), [-7, -6, -1, 0, 1, 2, 3]);
    assert_eq!(rig.days("history_failed"), [-30, -29, -9, -8, -7, -6, -1, 0, 1, 2, 3]);
}

#[test]
fn what_ended_while_no_partition_was_there_gets_one_and_keeps_its_retention() {
    let mut rig = Rig::new();
    rig.drop_days();
    for days in [-40, -3, 0, 1] {
        rig.end(false, days);
    }
    rig.end(true, 0);
    assert_eq!((rig.count("history_failed_default"), rig.count("history_sent_default")), (4, 1));

    let mut keeper = Keeper::new(&rig);
    keeper.round();
    assert_eq!((rig.count("history_failed_default"), rig.count("history_sent_default")), (0, 0));
    // What is past its retention is dropped now that it has a partition.
    keeper.round();
    assert_eq!((rig.count("history_failed"), rig.count("history_sent")), (3, 1));
    assert_eq!(rig.days("history_failed"), [-3, -1, 0, 1, 2, 3]);
    assert_eq!(keeper.round(), 0);
}

#[test]
fn what_ended_on_a_day_without_a_partition_gets_one_though_those_ahead_are_there() {
    let mut rig = Rig::new();
    rig.end(false, -10);
    assert_eq!(rig.count("history_failed_default"), 1);
    assert_eq!(Keeper::new(&rig).round(), 1);
    assert_eq!(rig.count("history_failed_default"), 0);
    assert_eq!(rig.days("history_failed"), [-10, -1, 0, 1, 2, 3]);
}

#[test]
fn c82_messages_whose_time_is_over_end_in_batches_and_no_others() {
    let mut rig = Rig::new();
    let past = Some(SystemTime::now() - DAY);
    let waiting = rig.put(&Notification { expires_at: past, ..to_inbox() });
    let mut store = rig.store();
    let first = store.leases(1, true);
    store.commit(&settle(first, &deferred(DAY))).unwrap();
    let leased = rig.put(&Notification { expires_at: past, ..to_inbox() });
    let lost = rig.put(&Notification { expires_at: past, ..to_inbox() });
    assert_eq!(store.leases(2, true).len(), 2);
    let sql = "update postrider.messages set lease_until = now() - interval '1 s' where id = $1";
    rig.execute(sql, &[&lost.0]);
    let later = rig.put(&Notification { expires_at: Some(SystemTime::now() + DAY), ..to_inbox() });
    let never = rig.fill(1)[0];
    let sql = "insert into postrider.messages (notification_id, template_id, method, recipient_id,
                                               payload, expires_at)
               select gen_random_uuid(), gen_random_uuid(), 'inbox', 'r', '{}', now() - interval '1 s'
                 from generate_series(1, 2500)";
    rig.execute(sql, &[]);

    Keeper::new(&rig).round();
    assert_eq!(rig.count("history_failed"), 2502);
    for (id, status) in [
        (waiting, "expired"),
        (lost, "expired"),
        (leased, "leased"),
        (later, "pending"),
        (never, "pending"),
    ] {
        assert_eq!(rig.status(id), status);
    }
    let sql = "select note from postrider.history where id = $1";
    let note: String = rig.client.query_one(sql, &[&waiting.0]).unwrap().get(0);
    assert_eq!(note, "expired; last failure: try later");
}

#[test]
fn old_attempts_and_keys_are_forgotten() {
    let mut rig = Rig::new();
    let sql = "insert into postrider.attempts (message_id, claim, attempt, notifier, started_at, finished_at, outcome)
               select gen_random_uuid(), n, 1, gen_random_uuid(), now(), now() - make_interval(days => n), 'x'
                 from generate_series(29, 1531) n";
    rig.execute(sql, &[]);
    let sql = "insert into postrider.dedupe (key, notification_id, messages, expires_at) values
        (md5('live')::uuid, gen_random_uuid(), 1, now() + interval '1 hour'),
        (md5('free')::uuid, gen_random_uuid(), 0, now() + interval '2 hours'),
        (md5('over')::uuid, gen_random_uuid(), 1, now() - interval '1 second')";
    rig.execute(sql, &[]);
    Keeper::new(&rig).round();
    assert_eq!(rig.count("attempts"), 1);
    let sql = "select name from unnest(array['live', 'free', 'over']) name
                 join postrider.dedupe on key = md5(name)::uuid order by expires_at";
    let keys: Vec<String> =
        rig.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(keys, ["live", "free"]);
}

/// Who waits for a lock, in this database.
const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

#[test]
fn two_keepers_at_once_take_turns() {
    let mut rig = Rig::new();
    let past = Some(SystemTime::now() - DAY);
    let id = rig.put(&Notification { expires_at: past, ..to_inbox() });
    let mut blocker = rig.db.client();
    let mut tx = blocker.transaction().unwrap();
    // The function that ends messages is at hand, but has to wait.
    tx.batch_execute("lock table postrider.history in share mode").unwrap();
    let (mut one, mut other) = (Keeper::new(&rig), Keeper::new(&rig));
    let full = thread::scope(|scope| {
        let at_work = scope.spawn(|| one.upkeep.round(&one.worker, &Clock::default(), drop));
        wait_until(LIMIT, "the first is at work", || rig.number(WAITING) == 1);
        other.round();
        assert_eq!(rig.status(id), "pending", "the other leaves to it what there is to do");
        tx.rollback().unwrap();
        at_work.join().unwrap()
    });
    // It may have been made to wait for too long.
    assert!(full.iter().all(|(step, result)| result.is_ok() || *step == "expire messages"));
    one.round();
    assert_eq!(rig.status(id), "expired");
    assert_eq!(other.round(), 0);
}

#[test]
fn a_worker_is_on_the_table_from_its_first_round_until_it_leaves() {
    let mut rig = Rig::new();
    let (mut one, mut other) = (Keeper::new(&rig), Keeper::new(&rig));
    one.round();
    one.round();
    other.round();
    let at_work = |rig: &mut Rig| admin::stats(&mut rig.client).unwrap().workers;
    assert_eq!(at_work(&mut rig), 2);
    rig.execute("update postrider.workers set heartbeat_at = now() - interval '2 minutes'", &[]);
    assert_eq!(at_work(&mut rig), 0);
    let mut store = PgStore::new(rig.connector(), one.worker.id, LIMIT, &["inbox".into()]);
    store.look(Some(LIMIT)).unwrap();
    assert_eq!(at_work(&mut rig), 1, "an idle one renews its bell");
    store.disarm().unwrap();
    assert_eq!(at_work(&mut rig), 1, "and beats when it becomes busy");
    let sql = "update postrider.workers set heartbeat_at = now() - interval '2 days' where id = $1";
    rig.execute(sql, &[&other.worker.id]);
    one.round();
    assert_eq!(rig.count("workers"), 1, "one that has not been seen for a day is forgotten");
    let sql = "insert into postrider.doorbell (worker_id, armed_until) values (gen_random_uuid(), '-infinity')";
    rig.execute(sql, &[]);
    one.round();
    assert_eq!(rig.count("doorbell"), 1, "and so is the bell of one that is not known any more");
    one.upkeep.leave(&one.worker);
    assert_eq!(rig.count("workers"), 0);
}

#[test]
fn a_step_that_fails_is_reported_and_the_others_are_done() {
    let mut rig = Rig::new();
    let past = Some(SystemTime::now() - DAY);
    let id = rig.put(&Notification { expires_at: past, ..to_inbox() });
    rig.drop_days();
    rig.execute("drop function postrider.make_partitions", &[]);
    let mut keeper = Keeper::new(&rig);
    let steps = keeper.upkeep.round(&keeper.worker, &Clock::default(), drop);
    let failed: Vec<_> = steps.iter().filter(|it| it.1.is_err()).map(|it| it.0).collect();
    assert_eq!(failed, ["make history partitions"]);
    assert_eq!(rig.status(id), "expired");
}

#[test]
fn a_round_that_finds_nothing_to_do_makes_no_step() {
    let rig = Rig::new();
    let mut keeper = Keeper::new(&rig);
    assert_eq!(keeper.round(), 0);
}

#[test]
fn c55_after_its_session_was_ended_a_round_is_made_on_another_one() {
    let mut rig = Rig::new();
    let mut keeper = Keeper::new(&rig);
    keeper.round();
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and application_name = 'postrider'";
    assert_eq!(rig.number(sql), 1);
    keeper.round();
}

#[test]
fn a_question_that_is_too_slow_is_not_sent_again_and_each_step_finds_out_itself() {
    let mut rig = Rig::new();
    let config = DatabaseConfig { statement_timeout: Duration::from_secs(2), ..rig.config() };
    let upkeep = Upkeep::new(Connector::new(&config).unwrap(), KEEP);
    let mut keeper = Keeper { upkeep, ..Keeper::new(&rig) };
    keeper.round();
    let past = Some(SystemTime::now() - DAY);
    let id = rig.put(&Notification { expires_at: past, ..to_inbox() });
    // Counts beyond the transaction that is rolled back.
    let slow = "create sequence asked;
        create function wait() returns trigger language plpgsql as
            'begin perform nextval(''public.asked''), pg_sleep(60); return new; end';
        create trigger wait before update on postrider.workers for each row execute function wait()";
    rig.client.batch_execute(slow).unwrap();
    let steps = keeper.upkeep.round(&keeper.worker, &Clock::default(), drop);
    let err = steps[0].1.as_ref().unwrap_err().to_string();
    assert!(err.contains("statement timeout"), "{err}");
    assert_eq!(rig.number("select last_value from asked"), 1);
    assert_eq!(rig.status(id), "expired");
    assert!(steps[1..].iter().all(|(_, result)| result.is_ok()), "{steps:?}");
    rig.client.batch_execute("drop trigger wait on postrider.workers").unwrap();
    assert_eq!(keeper.round(), 0);
}

#[test]
fn a_vacuum_takes_longer_than_a_statement_may_and_leaves_the_limit_as_it_is() {
    let mut rig = Rig::new();
    let name: String = rig.client.query_one("select current_database()::text", &[]).unwrap().get(0);
    // Slow by the pauses that it makes, two milliseconds for each page.
    let slow = format!(
        "alter database {name} set vacuum_cost_delay = '2ms'; alter database {name} set vacuum_cost_limit = 1"
    );
    rig.client.batch_execute(&slow).unwrap();
    let config = DatabaseConfig { statement_timeout: Duration::from_secs(2), ..rig.config() };
    let upkeep = Upkeep::new(Connector::new(&config).unwrap(), KEEP);
    let mut keeper = Keeper { upkeep, ..Keeper::new(&rig) };
    rig.leave_dead_rows();

    let mut longest = Duration::ZERO;
    let alive = |within: Duration| longest = longest.max(within);
    let steps = keeper.upkeep.round(&keeper.worker, &Clock::default(), alive);
    assert_eq!(steps, [("vacuum", Ok(()))]);
    assert_eq!(longest, Duration::from_hours(1), "a watcher is told that it may take so long");

    let mut blocker = rig.db.client();
    let mut tx = blocker.transaction().unwrap();
    tx.batch_execute("lock table postrider.workers in access exclusive mode").unwrap();
    let steps = keeper.upkeep.round(&keeper.worker, &Clock::default(), drop);
    let err = steps[0].1.as_ref().unwrap_err().to_string();
    assert!(err.contains("statement timeout"), "{err}");
}
