//! Roles with no more rights than their task needs.

use std::time::{Duration, SystemTime};

use postgres::Client;
use postrider::clock::Clock;
use postrider::config::{Config, DatabaseConfig, RetentionConfig};
use postrider::enqueue::Notification;
use postrider::store::connect::Connector;
use postrider::store::migrate;
use postrider::store::upkeep::{Upkeep, WorkerInfo};
use postrider::worker::Worker;
use uuid::Uuid;

use crate::login::Login;
use crate::rig::{LIMIT, Rig, to_inbox};
use crate::support::{connect, wait_until};

/// A login that is a member of one of our roles.
pub(crate) fn member_of(rig: &mut Rig, role: &str) -> Login {
    migrate::make_roles(&mut rig.client).unwrap();
    let mut login = Login::new(&rig.db);
    login.admin(&format!("grant {role} to LOGIN"));
    login
}

fn texts(rig: &mut Rig, sql: &str) -> Vec<String> {
    rig.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[track_caller]
fn assert_denied(client: &mut Client, sql: &str) {
    let err = client.batch_execute(sql).expect_err(sql);
    let code = err.code().map(postgres::error::SqlState::code);
    assert_eq!(code, Some("42501"), "{sql}: {err:?}");
}

const ENQUEUE: &str =
    "select count(*) from postrider.enqueue('greeting', '{\"id\": \"7\"}', methods => '{inbox}',
    labels => jsonb_build_object('no', gen_random_uuid()))";

#[test]
fn the_enqueue_role_can_enqueue_and_do_nothing_else() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    let mut client = connect(&login.url);
    assert_eq!(client.query_one(ENQUEUE, &[]).unwrap().get::<_, i64>(0), 1);
    postrider::enqueue::enqueue(&mut client, &to_inbox()).unwrap();
    postrider::enqueue::enqueue_many(&mut client, &[to_inbox(), to_inbox()]).unwrap();
    assert_eq!(rig.count("messages"), 4);
    let many: Vec<_> = (0..200).map(|_| to_inbox()).collect();
    postrider::enqueue::enqueue_many(&mut client, &many).unwrap();
    assert_eq!(rig.count("messages"), 204);
    let enqueuer = postrider::enqueue::Enqueuer::prepare(&mut client).unwrap();
    enqueuer.enqueue(&mut client, &to_inbox()).unwrap();
    assert_eq!(rig.count("messages"), 205);

    let tables = "select oid::regclass::text from pg_class
                   where relnamespace = 'postrider'::regnamespace and relkind in ('r', 'p')";
    let tables = texts(&mut rig, tables);
    assert!(10 < tables.len());
    for table in tables {
        assert_denied(&mut client, &format!("select from {table}"));
        assert_denied(&mut client, &format!("delete from {table}"));
        assert_denied(&mut client, &format!("insert into {table} default values"));
        assert_denied(&mut client, &format!("truncate {table}"));
    }
    assert_denied(&mut client, "select from postrider.all_messages");
    let functions = "select oid::regprocedure::text from pg_proc p
                      where pronamespace = 'postrider'::regnamespace and proname not in ('enqueue', 'enqueue_result', 'enqueue_many', 'enqueue_columns')
                        and prorettype <> 'trigger'::regtype";
    for function in texts(&mut rig, functions) {
        let may = "select has_function_privilege($1, $2, 'execute')";
        let row = rig.client.query_one(may, &[&login.name, &function]).unwrap();
        assert!(!row.get::<_, bool>(0), "{function}");
    }
    assert_denied(&mut client, "select nextval('postrider.claims')");
    assert_denied(&mut client, "create table postrider.mine ()");
    assert_denied(
        &mut client,
        "create function postrider.mine() returns int language sql as 'select 1'",
    );
}

#[test]
fn objects_of_the_caller_do_not_stand_in_for_those_of_the_queue() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    // As everybody may in old databases.
    rig.client.batch_execute("grant create on schema public to public").unwrap();
    let mut client = connect(&login.url);
    client
        .batch_execute(
            "create temp table messages (id uuid);
             create function public.jsonb_typeof(jsonb) returns text language plpgsql as
                'begin raise exception ''runs as %'', current_user; end';
             create function public.sha256(bytea) returns bytea language plpgsql as
                'begin raise exception ''runs as %'', current_user; end';
             create function public.equal(uuid, uuid) returns boolean language plpgsql as
                'begin raise exception ''runs as %'', current_user; end';
             create operator public.= (leftarg = uuid, rightarg = uuid, function = public.equal);
             set search_path = pg_temp, public, pg_catalog",
        )
        .unwrap();
    assert_eq!(client.query_one(ENQUEUE, &[]).unwrap().get::<_, i64>(0), 1);
    postrider::enqueue::enqueue_many(&mut client, &[to_inbox(), to_inbox()]).unwrap();
    assert_eq!(rig.count("messages"), 3);
}

#[test]
fn the_worker_role_is_enough_to_deliver_and_to_keep_the_tables_tidy() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    let mut config = Config { database: login.config(), ..Config::default() };
    config.worker.threads = 2;
    rig.fill(20);
    let running = Worker::new(config).unwrap().start().unwrap();
    wait_until(LIMIT, "all are delivered", || rig.count("history") == 20);
    running.stop().unwrap();
    assert_eq!(rig.count("inbox"), 20);

    // A day that is long over, so that there is something to drop.
    rig.client
        .batch_execute(
            "create table postrider.history_sent_20200101 partition of postrider.history_sent
                for values from ('2020-01-01') to ('2020-01-02')",
        )
        .unwrap();
    let (day, short) = (Duration::from_hours(24), Duration::from_secs(1));
    let keep = RetentionConfig { sent: day, failed: day, attempts: short, dedupe: None };
    let past = Some(SystemTime::now() - short);
    let over = rig.put(&Notification { expires_at: past, ..to_inbox() });
    let sql = "insert into postrider.dedupe (key, notification_id, messages, expires_at)
               values (gen_random_uuid(), gen_random_uuid(), 1, now() - interval '1 day');
               insert into postrider.attempts (message_id, claim, attempt, notifier, started_at, finished_at, outcome)
               values (gen_random_uuid(), 1, 1, gen_random_uuid(), now(), now() - interval '1 day', 'x');
               insert into postrider.history (id, notification_id, template_id, claim, created_at, outcome, priority,
                                              attempt, method, recipient_id, created_by, targets, payload, finished_at)
               select gen_random_uuid(), notification_id, template_id, 1, now(), 'expired', 0, 1, 'x', 'x', '', '{}', '{}', now() + interval '9 days'
                 from postrider.messages";
    rig.client.batch_execute(sql).unwrap();
    let mut upkeep = Upkeep::new(Connector::new(&login.config()).unwrap(), keep);
    let worker = WorkerInfo { id: Uuid::new_v4(), host: "h".into() };
    let steps = upkeep.round(&worker, &Clock::default(), drop);
    assert_eq!(steps.len(), 5, "{steps:?}");
    for (step, result) in steps {
        assert_eq!(result, Ok(()), "{step}");
    }
    assert_eq!(rig.status(over), "expired");
    let gone = "select to_regclass('postrider.history_sent_20200101') is null";
    assert!(rig.client.query_one(gone, &[]).unwrap().get::<_, bool>(0));
}

#[test]
fn the_worker_role_reads_and_changes_no_more_than_deliveries_need() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    rig.put(&to_inbox());
    let mut client = connect(&login.url);
    for denied in [
        "update postrider.templates set body = 'x'",
        "update postrider.endpoints set url = 'https://evil.example.com'",
        "update postrider.endpoints set secrets = '[]'",
        "insert into postrider.endpoints (name, url) values ('x', 'https://evil.example.com')",
        "update postrider.messages set payload = '{}'",
        "update postrider.messages set endpoint = 'https://evil.example.com'",
        "insert into postrider.messages select * from postrider.messages",
        "update postrider.history set note = 'x'",
        "delete from postrider.history",
        "select payload from postrider.history",
        "select from postrider.all_messages",
        "select content from postrider.inbox",
        "update postrider.inbox set read_at = now()",
        "delete from postrider.inbox",
        "insert into postrider.preferences values ('x', gen_random_uuid(), true)",
        "delete from postrider.settings",
        "update postrider.migrations set name = 'x'",
        "truncate postrider.messages",
        "drop table postrider.messages",
    ] {
        assert_denied(&mut client, denied);
    }
}

#[test]
fn a_worker_with_the_worker_role_publishes_what_its_settings_say_of_enqueues() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    let mut config = Config { database: login.config(), ..Config::default() };
    config.worker.threads = 2;
    config.worker.default_methods = Some(vec!["webhook".into()]);
    config.webhook.endpoint = Some("https://example.com".into());
    let running = Worker::new(config).unwrap().start().unwrap();
    let published = "select value::text from postrider.settings where name = 'default_methods'";
    wait_until(LIMIT, "they are published", || texts(&mut rig, published) == ["[\"webhook\"]"]);
    running.stop().unwrap();
}

#[test]
fn a_type_of_ours_cannot_be_built_into_a_table_of_somebody_else() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    let mut client = connect(&login.url);
    for name in ["status", "templates", "messages", "history", "status[]"] {
        assert_denied(&mut client, &format!("create temp table mine (a postrider.{name})"));
    }
}

#[test]
fn what_another_version_granted_is_taken_back_by_a_migration() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    rig.client
        .batch_execute("grant select, update on postrider.inbox to postrider_worker")
        .unwrap();
    migrate::migrate(&mut rig.client).unwrap();
    let mut client = connect(&login.url);
    assert_denied(&mut client, "select content from postrider.inbox");
    assert_denied(&mut client, "update postrider.inbox set title = 'x'");
    client.batch_execute("select id from postrider.inbox").unwrap();
}

#[test]
fn a_worker_that_may_not_vacuum_the_queue_does_not_try() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_worker");
    // None that autovacuum could be faster with.
    rig.client
        .batch_execute("alter table postrider.messages set (autovacuum_enabled = off)")
        .unwrap();
    rig.leave_dead_rows();
    let keep = Config::default().retention;
    let worker = WorkerInfo { id: Uuid::new_v4(), host: "h".into() };
    let round = |config: &DatabaseConfig| {
        Upkeep::new(Connector::new(config).unwrap(), keep).round(&worker, &Clock::default(), drop)
    };
    assert_eq!(round(&login.config()), []);
    assert_eq!(round(&rig.config()), [("vacuum", Ok(()))]);
}

#[test]
fn roles_are_made_as_often_as_one_likes() {
    let mut rig = Rig::new();
    migrate::make_roles(&mut rig.client).unwrap();
    migrate::make_roles(&mut rig.client).unwrap();
    // And the owner goes on as before.
    rig.fill(1);
    assert_eq!(rig.count("messages"), 1);
}

#[test]
fn after_an_upgrade_the_roles_may_what_they_might_before_and_everybody_else_nothing() {
    let mut rig = Rig::new();
    let login = member_of(&mut rig, "postrider_enqueue");
    // What a migration does that replaces a function and brings a new one.
    let sql = "select pg_get_functiondef(oid) from pg_proc
                where pronamespace = 'postrider'::regnamespace and proname in ('enqueue', 'enqueue_result')";
    for definition in texts(&mut rig, sql) {
        let replaced = definition.replace(" SECURITY DEFINER", "");
        assert_ne!(replaced, definition);
        rig.client.batch_execute(&replaced).unwrap();
    }
    let sql = "create function postrider.fresh() returns int language sql as 'select 1'";
    rig.client.batch_execute(sql).unwrap();
    let mut client = connect(&login.url);
    assert_denied(&mut client, ENQUEUE);

    migrate::migrate(&mut rig.client).unwrap();
    assert_eq!(client.query_one(ENQUEUE, &[]).unwrap().get::<_, i64>(0), 1);
    let open = "select oid::regprocedure::text from pg_proc
                 where pronamespace = 'postrider'::regnamespace and has_function_privilege('public', oid, 'execute')";
    assert_eq!(texts(&mut rig, open), [""; 0]);
}

#[test]
fn a_schema_without_the_roles_is_migrated_without_them() {
    let mut rig = Rig::new();
    migrate::make_roles(&mut Rig::new().client).unwrap(); // For another database of the server.
    migrate::migrate(&mut rig.client).unwrap();
    let definers = "select oid::regprocedure::text from pg_proc
                     where pronamespace = 'postrider'::regnamespace and prosecdef and prorettype <> 'trigger'::regtype";
    assert_eq!(texts(&mut rig, definers), [""; 0]);
}
