//! Lost connections and a server that has become read-only.

use std::time::Duration;

use postrider::store::pool::Pool;
use postrider::store::{Room, Store, StoreError};

use crate::rig::{LIMIT, Leases, Rig, acquire_one, sent, settle};
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
    let connector = postrider::store::connect::Connector::new(&config).unwrap();
    let err = connector.connect().err().unwrap();
    assert!(matches!(err, StoreError::Refused(_)), "{err}");
    assert!(!err.to_string().contains("guess"), "{err}");
}
