//! Migrations: applied once, by whoever comes first, and never over something unknown.

use std::sync::Barrier;
use std::thread;

use postgres::Client;
use postrider::store::migrate::{MigrateError, VERSION, check, migrate};

use crate::rig::LIMIT;
use crate::support::{TestDb, database, wait_until};

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

#[test]
fn a_migration_waits_for_the_step_of_upkeep_that_is_being_made() {
    let db = database();
    let (mut client, mut upkeep) = (db.client(), db.client());
    let mut step = upkeep.transaction().unwrap();
    // "posttidy" in ASCII.
    step.batch_execute("select pg_advisory_xact_lock(x'706f737474696479'::bigint)").unwrap();
    thread::scope(|scope| {
        let migrator = scope.spawn(|| migrate(&mut db.client()).unwrap());
        let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
            where d.datname = current_database() and l.locktype = 'advisory' and not l.granted";
        wait_until(LIMIT, "it waits", || {
            client.query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 1
        });
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
    let sql = "delete from postrider.migrations where '0006' <= name;
                alter table postrider.endpoints drop authorities, drop client_certificate,
                                                drop client_key;
               alter table postrider.dedupe alter key type bytea using uuid_send(key);
               do $$ declare f regprocedure; begin
                   for f in select oid from pg_proc where pronamespace = 'postrider'::regnamespace
                               and (proname ~ '^enqueue_(?!result)' or proname in ('uuid_v7_at', 'uuid_v7_from', 'clock_ticks'))
                   loop execute 'drop function ' || f; end loop;
               end $$;
               drop type postrider.enqueue_item, postrider.enqueue_kind;
               drop trigger refuse_depth on postrider.messages;
               drop function postrider.refuse_depth;";
    client.batch_execute(sql).unwrap();
    // As the version before wrote it.
    let sql = "insert into postrider.templates (name, title, body) values ('t', 't', 'b');
               insert into postrider.dedupe (day, key)
               select 'infinity', sha256(convert_to(jsonb_build_array(id, '1', 'inbox', 'order-1')::text, 'UTF8'))
                 from postrider.templates";
    client.batch_execute(sql).unwrap();
    assert_eq!(
        migrate(&mut client).unwrap(),
        [
            "0006_endpoint_tls",
            "0007_fast_enqueue",
            "0008_depth",
            "0009_bulk_enqueue",
            "0010_batch_checks",
            "0011_short_ways"
        ]
    );
    let again =
        "select result from postrider.enqueue_result('t', '{\"id\": \"1\"}', methods => '{inbox}',
                    dedupe_key => 'order-1')";
    let result: String = client.query_one(again, &[]).unwrap().get(0);
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
