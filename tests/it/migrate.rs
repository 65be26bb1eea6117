//! Migrations: applied once, by whoever comes first, and never over something unknown.

use std::sync::Barrier;
use std::thread;

use postgres::Client;
use postrider::store::migrate::{MigrateError, VERSION, check, make_roles, migrate};

use crate::login::Login;
use crate::rig::LIMIT;
use crate::support::{TestDb, database, database_with, wait_until};

/// A database that no migration was applied to.
fn empty() -> TestDb {
    let db = database();
    db.client().batch_execute("drop schema postrider cascade").unwrap();
    db
}

/// What the schema is made of, as text.
fn picture(client: &mut Client) -> String {
    let sql = "select string_agg(line, e'\\n' order by line) from (
        select c.relname || ' ' || c.oid || ' ' || c.relkind::text from pg_class c
         where c.relnamespace = 'postrider'::regnamespace
        union all
        select p.proname || ' ' || p.oid from pg_proc p where p.pronamespace = 'postrider'::regnamespace
        union all
        select m::text from postrider.migrations m) all_lines(line)";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn of_many_that_migrate_at_once_one_applies_all_and_the_others_nothing() {
    let db = empty();
    let ready = Barrier::new(8);
    let counts = thread::scope(|scope| {
        let migrators: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = db.client();
                    ready.wait();
                    migrate(&mut client).unwrap().len()
                })
            })
            .collect();
        migrators.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(counts.iter().filter(|&&count| count == 0).count(), 7, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), usize::try_from(VERSION).unwrap());
    check(&mut db.client()).unwrap();
}

#[test]
fn a_second_migrate_changes_nothing() {
    let db = database();
    let mut client = db.client();
    let before = picture(&mut client);
    assert!(migrate(&mut client).unwrap().is_empty());
    assert_eq!(picture(&mut client), before);
}

/// Whether a session of this database waits for a lock.
fn waiting(client: &mut Client) -> bool {
    let sql = "select exists (select from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock')";
    client.query_one(sql, &[]).unwrap().get(0)
}

#[test]
fn a_migration_waits_for_the_step_of_upkeep_that_is_being_made() {
    let db = database();
    let (mut client, mut upkeep) = (db.client(), db.client());
    let mut step = upkeep.transaction().unwrap();
    let lock = "select from postrider.settings where name = 'upkeep' for update";
    assert_eq!(step.execute(lock, &[]).unwrap(), 1);
    thread::scope(|scope| {
        let migrator = scope.spawn(|| migrate(&mut db.client()).unwrap());
        wait_until(LIMIT, "it waits", || waiting(&mut client));
        step.rollback().unwrap();
        migrator.join().unwrap();
    });
}

#[test]
fn what_is_missing_is_applied_and_what_is_there_stays() {
    let db = database();
    let mut client = db.client();
    let sql = "insert into postrider.endpoints (name, url) values ('kept', 'https://example.com')";
    client.batch_execute(sql).unwrap();
    let sql = "delete from postrider.migrations where '0003' <= name;
               drop function postrider.make_partitions, postrider.drop_partitions,
                             postrider.expire_messages, postrider.set_paused";
    client.batch_execute(sql).unwrap();
    let enqueue =
        "select result from postrider.enqueue_result('t', '{\"id\": \"1\"}', methods => '{inbox}',
                    dedupe_key => 'order-1')";
    client
        .batch_execute("insert into postrider.templates (name, title, body) values ('t', 't', 'b')")
        .unwrap();
    client.query_one(enqueue, &[]).unwrap();
    assert_eq!(migrate(&mut client).unwrap(), ["0003_upkeep"]);
    let result: String = client.query_one(enqueue, &[]).unwrap().get(0);
    assert_eq!(result, "duplicate", "keys of applications are kept");
    let kept = client.query_one("select count(*) from postrider.endpoints", &[]).unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
}

#[test]
fn a_database_without_a_schema_is_an_older_one_and_the_error_says_what_to_do() {
    let err = check(&mut empty().client()).unwrap_err();
    assert!(matches!(err, MigrateError::Older { found: 0 }), "{err}");
    assert!(err.to_string().contains("run `postrider migrate`"), "{err}");
}

#[test]
fn an_older_schema_is_a_clear_error() {
    let db = database();
    let mut client = db.client();
    client.execute("delete from postrider.migrations where version > 1", &[]).unwrap();
    let err = check(&mut client).unwrap_err();
    assert!(matches!(err, MigrateError::Older { found: 1 }), "{err}");
    assert!(err.to_string().contains(&format!("version 1, this build needs {VERSION}")), "{err}");
}

#[test]
fn a_newer_schema_is_a_clear_error_and_stays_as_it_is() {
    let db = database();
    let mut client = db.client();
    let sql = "insert into postrider.migrations (version, name, checksum) values (99, '0099', '')";
    client.execute(sql, &[]).unwrap();
    let before = picture(&mut client);
    for err in [check(&mut client).unwrap_err(), migrate(&mut client).unwrap_err()] {
        assert!(matches!(err, MigrateError::Newer { found: 99 }), "{err}");
        assert!(err.to_string().contains("upgrade postrider"), "{err}");
    }
    assert_eq!(picture(&mut client), before);
}

#[test]
fn a_migration_that_was_applied_with_another_content_is_refused_by_name() {
    let db = database();
    let mut client = db.client();
    let sql = "update postrider.migrations set checksum = 'other' where version = 2";
    client.execute(sql, &[]).unwrap();
    let err = migrate(&mut client).unwrap_err();
    assert!(matches!(&err, MigrateError::Changed { name } if name == "0002_enqueue"), "{err}");
}

#[test]
fn a_migration_that_fails_leaves_the_schema_as_it_was() {
    let db = empty();
    let mut client = db.client();
    // Something of this name in the way of the first migration.
    let sql = "create schema postrider; create table postrider.templates ()";
    client.batch_execute(sql).unwrap();
    assert!(matches!(migrate(&mut client).unwrap_err(), MigrateError::Store(_)));
    let tables = client
        .query("select relname from pg_class where relnamespace = 'postrider'::regnamespace", &[])
        .unwrap();
    assert_eq!(tables.len(), 1, "only the one in the way");
}

#[test]
fn nobody_waits_for_long_behind_a_migration_that_waits_for_its_turn() {
    let db = database();
    let (mut client, mut holder) = (db.client(), db.client());
    let mut held = holder.transaction().unwrap();
    let lock = "lock table postrider.migrations in row exclusive mode";
    held.batch_execute(lock).unwrap();
    thread::scope(|scope| {
        let migrator = scope.spawn(|| migrate(&mut db.client()).unwrap());
        wait_until(LIMIT, "it waits", || waiting(&mut client));
        // It cannot be had beside what the migration waits for.
        let mut behind = client.transaction().unwrap();
        behind.batch_execute("set local lock_timeout = '10s'").unwrap();
        behind.batch_execute(lock).unwrap();
        behind.rollback().unwrap();
        held.rollback().unwrap();
        assert!(migrator.join().unwrap().is_empty());
    });
}

#[test]
fn a_lock_that_anybody_can_take_stops_no_migration() {
    let db = database();
    let mut stranger = Login::new(&db).client();
    // The keys that were used before: "postride" and "posttidy" in ASCII.
    let sql = "select pg_advisory_lock(x'706f737472696465'::bigint), pg_advisory_lock(x'706f737474696479'::bigint)";
    stranger.batch_execute(sql).unwrap();
    assert!(migrate(&mut db.client()).unwrap().is_empty());
}

#[test]
fn a_schema_of_somebody_else_is_refused_before_anything_in_it_runs() {
    let db = empty();
    let mut login = Login::new(&db);
    login.admin("do $$ begin execute format('grant create on database %I to LOGIN', current_database()); end $$");
    // Counts beyond the transaction that is rolled back.
    let trap = "create schema postrider;
        create sequence postrider.called; grant usage on sequence postrider.called to public;
        grant usage on schema postrider to public;
        create table postrider.migrations (version integer, name text, checksum text, applied_at timestamptz);
        create function postrider.trap() returns trigger language plpgsql as
            'begin perform nextval(''postrider.called''); return new; end';
        create trigger trap before insert on postrider.migrations for each row execute function postrider.trap()";
    login.client().batch_execute(trap).unwrap();
    let mut client = db.client();
    for err in [migrate(&mut client).unwrap_err(), make_roles(&mut client).unwrap_err()] {
        assert!(
            matches!(&err, MigrateError::Foreign { owner, .. } if *owner == login.name),
            "{err}"
        );
        assert!(err.to_string().contains(&format!("connect as {}", login.name)), "{err}");
    }
    let called = "select is_called from postrider.called";
    assert!(!client.query_one(called, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn a_function_of_somebody_else_in_our_schema_is_refused_by_name() {
    let db = database();
    let mut login = Login::new(&db);
    login.admin("grant usage, create on schema postrider to LOGIN");
    let sql = "create function postrider.mine() returns int language sql as 'select 1'";
    login.client().batch_execute(sql).unwrap();
    let err = migrate(&mut db.client()).unwrap_err().to_string();
    assert!(err.starts_with("function postrider.mine() belongs to role login_"), "{err}");
}

#[test]
fn who_was_given_a_schema_needs_no_right_to_make_one() {
    for sql in [
        "create schema postrider authorization LOGIN",
        "create schema postrider; grant usage, create on schema postrider to LOGIN",
    ] {
        let db = empty();
        let mut login = Login::new(&db);
        login.admin(sql);
        let mut client = login.client();
        assert!(!migrate(&mut client).unwrap().is_empty(), "{sql}");
        assert!(migrate(&mut client).unwrap().is_empty(), "{sql}");
        check(&mut client).unwrap();
    }
}

#[test]
fn a_schema_of_a_pre_release_is_a_clear_error_and_stays_as_it_is() {
    let db = database();
    let mut client = db.client();
    let sql = "update postrider.migrations set name = '0001_other' where version = 1;
               insert into postrider.migrations (version, name, checksum) values (99, '0099', '')";
    client.batch_execute(sql).unwrap();
    let before = picture(&mut client);
    for err in [check(&mut client).unwrap_err(), migrate(&mut client).unwrap_err()] {
        assert!(matches!(err, MigrateError::PreRelease), "{err}");
        assert!(err.to_string().contains("`drop schema postrider cascade`"), "{err}");
    }
    assert_eq!(picture(&mut client), before);
}

#[test]
fn a_database_that_cannot_store_every_text_is_refused_and_the_error_says_how_to_make_one_that_can()
{
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let db = database_with(&format!("encoding '{encoding}' locale 'C' template template0"));
        let mut client = db.client();
        for err in [check(&mut client).unwrap_err(), migrate(&mut client).unwrap_err()] {
            assert!(
                matches!(&err, MigrateError::Encoding { encoding: it, .. } if it == encoding),
                "{err}"
            );
            assert!(err.to_string().contains("encoding 'UTF8'"), "{err}");
        }
        let sql = "select count(*) from pg_namespace where nspname = 'postrider'";
        assert_eq!(client.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0);
    }
}
