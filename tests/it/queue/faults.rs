//! Lost connections, a server that has become read-only, what it refuses and what somebody has locked.

use std::time::{Duration, Instant};

use postrider::enqueue::Notification;
use postrider::lease::Settled;
use postrider::message::MessageId;
use postrider::outcome::{Outcome, Receipt};
use postrider::store::connect::{Connector, store_error};
use postrider::store::pool::Pool;
use postrider::store::postgres::PgStore;
use postrider::store::{Room, Store, StoreError};
use uuid::Uuid;

use crate::rig::{LEASE, LIMIT, Leases, Rig, acquire_one, sent, settle, to_inbox};
use crate::support::wait_until;

impl Rig {
    /// Ends all sessions but that of the rig, and returns how many.
    fn terminate_sessions(&mut self) -> i64 {
        // A filter beside the call might be read after it.
        let sql = "with ours as materialized (
                select pid from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid()
                   and backend_type = 'client backend')
            select count(*) from ours where pg_terminate_backend(pid)";
        let ended = self.number(sql);
        let sql = "select count(*) from pg_stat_activity
                    where datname = current_database() and pid <> pg_backend_pid()
                      and backend_type = 'client backend'";
        wait_until(LIMIT, "the sessions are gone", || self.number(sql) == 0);
        ended
    }

    fn set_read_only(&mut self, read_only: bool) {
        let name: String =
            self.client.query_one("select current_database()::text", &[]).unwrap().get(0);
        let sql = format!("alter database {name} set default_transaction_read_only = {read_only}");
        self.execute(&sql, &[]);
    }
}

/// One failure shows that the session is gone; the next call makes another one.
#[track_caller]
fn check_next_call_works<T>(mut call: impl FnMut() -> Result<T, StoreError>) -> T {
    match call() {
        Ok(_) => panic!("the session was not ended"),
        Err(StoreError::Unavailable(_)) => call().unwrap(),
        Err(err) => panic!("{err}"),
    }
}

#[test]
fn c55_after_a_session_was_ended_the_next_call_works() {
    let mut rig = Rig::new();
    rig.fill(2);
    let mut store = rig.store();
    let lease = store.leases(1, true).remove(0);

    assert_eq!(rig.terminate_sessions(), 1);
    let batch = settle(vec![lease], &sent());
    assert_eq!(check_next_call_works(|| store.commit(&batch)), [batch[0].key]);
    rig.terminate_sessions();
    assert!(check_next_call_works(|| store.look(Some(Duration::from_mins(1)))).due);
    rig.terminate_sessions();
    check_next_call_works(|| store.disarm());
    rig.terminate_sessions();
    assert_eq!(check_next_call_works(|| store.acquire(Room::of(1), false)).leases.len(), 1);
    assert_eq!((rig.count("messages"), rig.count("history_sent")), (1, 1));
}

#[test]
fn c55_a_commit_whose_answer_was_lost_is_harmless_when_repeated() {
    let mut rig = Rig::new();
    rig.fill(1);
    let mut store = rig.store();
    let batch = settle(vec![acquire_one(&mut store)], &sent());
    assert_eq!(store.commit(&batch).unwrap().len(), 1);
    rig.terminate_sessions();
    assert!(check_next_call_works(|| store.commit(&batch)).is_empty());
    assert_eq!(rig.count("history"), 1);
}

#[test]
fn c56_a_pool_whose_sessions_all_died_hands_out_one_that_works() {
    let mut rig = Rig::new();
    let pool = Pool::new(&rig.config()).unwrap();
    let all: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    drop(all);
    assert_eq!(rig.terminate_sessions(), 4);
    for _ in 0..4 {
        pool.get().unwrap().batch_execute("select").unwrap();
    }
}

#[test]
fn c56_a_read_only_server_is_unavailable_and_what_is_in_hand_is_written_afterwards() {
    let mut rig = Rig::new();
    rig.fill(2);
    let mut store = rig.store();
    let batch = settle(vec![store.leases(1, true).remove(0)], &sent());
    rig.set_read_only(true);
    rig.terminate_sessions();
    for _ in 0..3 {
        let err = store.commit(&batch).unwrap_err();
        assert!(matches!(err, StoreError::Unavailable(_)), "{err}");
        let err = store.acquire(Room::of(1), true).unwrap_err();
        assert!(matches!(err, StoreError::Unavailable(_)), "{err}");
    }
    rig.set_read_only(false);
    assert_eq!(store.commit(&batch).unwrap(), [batch[0].key]);
    assert_eq!(store.leases(2, true).len(), 1);
}

#[test]
fn a_wrong_password_is_refused_and_never_shown() {
    let rig = Rig::new();
    let url = rig.db.url();
    let password = url.split([':', '@']).nth(2).unwrap();
    let mut config = rig.config();
    config.url = Some(postrider::config::Secret::new(url.replace(password, "guess")));
    let connector = Connector::new(&config).unwrap();
    let err = connector.connect().err().unwrap();
    assert!(matches!(err, StoreError::Refused { .. }), "{err}");
    assert!(!err.to_string().contains("guess"), "{err}");
}

#[test]
fn what_the_database_says_is_sorted_by_what_the_caller_does() {
    let mut rig = Rig::new();
    let unavailable = ["08006", "25006", "40001", "40P01", "57P01", "57P03", "58030"];
    let busy = ["53100", "53200", "53300", "55P03", "57014"];
    let refused = [
        "22021", "23505", "42501", "42P01", "54000", "55000", "55006", "P0001", "PR004", "XX000",
        "ZZ999",
    ];
    let kinds = [("unavailable", &unavailable[..]), ("busy", &busy), ("refused", &refused)];
    for (kind, code) in
        kinds.into_iter().flat_map(|(kind, of)| of.iter().map(move |it| (kind, *it)))
    {
        let sql = format!("do $$ begin raise exception 'so' using errcode = '{code}'; end $$");
        let err = store_error(&rig.client.batch_execute(&sql).unwrap_err());
        let found = match &err {
            StoreError::Unavailable(_) => ("unavailable", code),
            StoreError::Busy { code, .. } => ("busy", code.as_str()),
            StoreError::Refused { code, .. } => ("refused", code.as_str()),
            other => panic!("{other}"),
        };
        assert_eq!(found, (kind, code));
        assert!(err.to_string().ends_with(&format!("so (SQLSTATE {code})")), "{err}");
    }
}

/// Commits three outcomes while somebody has locked the row of one for long.
#[track_caller]
fn check_locked_row(rig: &mut Rig, store: &mut PgStore) {
    rig.fill(3);
    let batch = settle(store.leases(3, true), &sent());
    let ids: Vec<MessageId> = batch.iter().map(|it| it.key.id).collect();
    let mut other = rig.db.client();
    let mut tx = other.transaction().unwrap();
    let sql = "select from postrider.messages where id = $1 for no key update";
    assert_eq!(tx.execute(sql, &[&ids[1].0]).unwrap(), 1);
    let began = Instant::now();
    let err = store.commit(&batch).unwrap_err();
    assert!(err.is_lock_timeout() && matches!(err, StoreError::Busy { .. }), "{err}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(store.locked(&ids).unwrap(), [ids[1]]);
    let (locked, free): (Vec<Settled>, Vec<Settled>) =
        batch.into_iter().partition(|it| it.key.id == ids[1]);
    assert_eq!(store.commit(&free).unwrap().len(), 2);
    tx.rollback().unwrap();
    assert!(store.locked(&ids).unwrap().is_empty());
    assert_eq!(store.commit(&locked).unwrap().len(), 1);
    assert_eq!(store.commit(&locked).unwrap().len(), 0);
}

#[test]
fn a_commit_waits_for_a_locked_row_only_for_a_moment_and_it_can_be_told_which_one_it_is() {
    let mut rig = Rig::new();
    let mut store = rig.store();
    check_locked_row(&mut rig, &mut store);
    let mut bounced = rig.config();
    bounced.pgbouncer = true;
    let connector = Connector::new(&bounced).unwrap();
    let mut store = PgStore::new(connector, Uuid::new_v4(), LEASE, &["inbox".into()]);
    check_locked_row(&mut rig, &mut store);
}

#[test]
fn a_connection_that_is_refused_blames_no_outcome() {
    let mut rig = Rig::new();
    rig.fill(1);
    let mut store = rig.store();
    let batch = settle(vec![acquire_one(&mut store)], &sent());
    let url = rig.db.url();
    let password = url.split([':', '@']).nth(2).unwrap();
    let mut config = rig.config();
    config.url = Some(postrider::config::Secret::new(url.replace(password, "guess")));
    let connector = Connector::new(&config).unwrap();
    let mut store = PgStore::new(connector, Uuid::new_v4(), LEASE, &["inbox".into()]);
    let err = store.commit(&batch).unwrap_err();
    assert!(matches!(err, StoreError::Unavailable(_)), "{err}");
}

#[test]
fn an_outcome_that_was_refused_with_its_side_effects_clears_no_suppression() {
    let mut rig = Rig::new();
    rig.put(&Notification { methods: vec!["smtp".into()], ..to_inbox() });
    let mut store = rig.store();
    let lease = acquire_one(&mut store);
    let kept = "insert into postrider.suppressions (address, code, reason) values ('ada@example.com', '550', '');
        create function keep() returns trigger language plpgsql as $$ begin raise exception 'kept'; end $$;
        create trigger keep before delete on postrider.suppressions for each row execute function keep()";
    rig.client.batch_execute(kept).unwrap();
    let mut batch = settle(vec![lease], &sent());
    assert!(matches!(store.commit(&batch), Err(StoreError::Refused { .. })));
    batch[0].outcome =
        Outcome::Sent(Receipt { code: Some("refused".into()), ..Receipt::default() });
    assert_eq!(store.commit(&batch).unwrap(), [batch[0].key]);
    assert_eq!(rig.count("suppressions"), 1);
}
