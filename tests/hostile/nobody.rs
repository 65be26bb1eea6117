//! What a login without rights tries.

use fastrand::Rng;

use crate::value::pick;

const TABLES: [&str; 14] = [
    "messages",
    "history",
    "templates",
    "endpoints",
    "settings",
    "inbox",
    "attempts",
    "dedupe",
    "suppressions",
    "methods",
    "doorbell",
    "workers",
    "all_messages",
    "migrations",
];
/// With `TABLE` for a table.
const REFUSED: [&str; 24] = [
    "select * from postrider.TABLE",
    "select count(*) from postrider.TABLE",
    "insert into postrider.TABLE default values",
    "delete from postrider.TABLE",
    "truncate postrider.TABLE",
    "do $$ begin lock table postrider.TABLE in access share mode nowait; end $$",
    "do $$ begin lock table postrider.TABLE in access exclusive mode nowait; end $$",
    "alter table postrider.TABLE rename to mine",
    "drop table postrider.TABLE",
    "create index on postrider.TABLE ((1))",
    "create table nobody.mine (it postrider.TABLE)",
    "create table nobody.heir () inherits (postrider.TABLE)",
    "comment on table postrider.TABLE is 'mine'",
    "grant select on postrider.TABLE to nobody",
    "copy postrider.TABLE to program 'id'",
    "select * from postrider.enqueue('good', '{\"id\": \"x\"}')",
    "select * from postrider.enqueue_many('[]')",
    "select postrider.make_partitions()",
    "select postrider.ring()",
    "select nextval('postrider.claims')",
    "set role postrider_worker",
    "create table postrider.mine ()",
    "alter system set max_connections = 1",
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'postrider'",
];
/// What everybody may do.
const ALLOWED: [&str; 8] = [
    "select pg_notify('postrider', g::text) from generate_series(1, 2000) g",
    "select pg_notify('postrider', repeat('x', 7999)) from generate_series(1, 20)",
    "listen postrider",
    "select pg_advisory_lock(g) from generate_series(1, 100) g",
    "select pg_advisory_lock(hashtext('postrider'))",
    "drop table if exists messages;
     create temp table messages as select g as id from generate_series(1, 1000) g",
    "create or replace function nobody.jsonb_typeof(jsonb) returns text language plpgsql as
        'begin raise exception ''runs as %'', current_user; end';
     create or replace function nobody.now() returns timestamptz language sql as
        'select ''infinity''::timestamptz'",
    "create or replace function nobody.same(uuid, uuid) returns boolean language sql as 'select true';
     do $$ begin
        create operator nobody.= (leftarg = uuid, rightarg = uuid, function = nobody.same);
     exception when duplicate_function then null; end $$;
     alter role nobody set search_path = nobody, pg_temp, pg_catalog",
];

/// A statement, and whether it is to be refused.
pub(crate) fn statement(rng: &mut Rng) -> (String, bool) {
    if rng.u8(..3) == 0 {
        return (pick(rng, &ALLOWED).into(), false);
    }
    let table = pick(rng, &TABLES);
    (pick(rng, &REFUSED).replace("TABLE", table), true)
}
