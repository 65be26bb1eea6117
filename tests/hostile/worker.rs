//! What a login with the rights of a worker does to hostile messages and to the tables.
//!
//! Left out is what those rights are for: to lease, end or lock good messages, or the tables;
//! `paused`, `default_methods` and `inbox_enabled` in the settings; the default methods; and
//! suppressing the addresses of good messages.

use fastrand::Rng;

use crate::generator::PREFIX;
use crate::value::{json, odd, pick, quote, text, time};

const CHANGES: [&str; 27] = [
    "attempt = 0",
    "attempt = 999",
    "attempt = 1000000",
    "attempt = -1",
    "lapses = 0",
    "lapses = 1000",
    "suspect = true",
    "suspect = false, started = 9223372036854775807",
    "claim = 0, lease_until = null",
    "claim = 0, lease_until = null, due_at = now()",
    "claim = nextval('postrider.claims'), lease_until = now() + interval '3 s'",
    "claim = nextval('postrider.claims'), lease_until = now() - interval '1 s', suspect = true",
    "claim = nextval('postrider.claims'), lease_until = 'infinity', claimed_by = gen_random_uuid()",
    "claim = 1, lease_until = '-infinity'",
    "claim = -1, lease_until = now() - interval '1 s'",
    "claim = 9223372036854775807, lease_until = now() - interval '1 s'",
    "due_at = now() + interval '100 years'",
    "due_at = '4713-01-01 BC'",
    "due_at = 'infinity'",
    "held_since = 'infinity'",
    "held_since = '-infinity'",
    "held_since = now() - interval '100 years'",
    "last_error = repeat('x', 1000000), code = repeat('y', 1000000)",
    "last_error = repeat('x', 20000000)",
    "last_error = repeat('x', 4096), code = repeat('y', 255), destination = repeat('z', 8192)",
    "destination = repeat('z', 1000000)",
    "destination = ODD, code = ODD, last_error = ODD",
];

/// A statement.
pub(crate) fn statement(rng: &mut Rng) -> String {
    match rng.u8(..20) {
        0..=9 => update(rng),
        10 | 11 => history(rng),
        12 => format!(
            "insert into postrider.inbox (id, recipient_id, template_id, targets, title, content,
                 actions, created_at)
             values (gen_random_uuid(), {}, gen_random_uuid(), '{{}}', {}, {}, {}, {})",
            text(rng), text(rng), text(rng), json(rng), time(rng)
        ),
        13 => format!(
            "insert into postrider.attempts values
                 ((select id from postrider.messages m where {OF_HOSTILE} limit 1),
                  {}, 7, gen_random_uuid(), {}, {}, {}, {}, {})",
            rng.i64(..), time(rng), time(rng), text(rng), text(rng), text(rng)
        ),
        14 => format!(
            "insert into postrider.suppressions (address, code, reason) values ({}, {}, {})",
            text(rng), text(rng), text(rng)
        ),
        15 => format!("insert into postrider.methods values ({})", quote(&name(rng))),
        16 => settings(rng),
        17 => call(rng),
        18 => format!(
            "delete from postrider.messages m where id = any (array(
                 select m.id from postrider.messages m where {OF_HOSTILE} order by random() limit 3))"
        ),
        _ => helpers(rng),
    }
}

/// True of hostile messages alone.
const OF_HOSTILE: &str = "m.template_id in (
    select t.id from postrider.templates t where t.name like 'hostile-%')";
const _: () = assert!(PREFIX.len() == 7);

fn update(rng: &mut Rng) -> String {
    let change = pick(rng, &CHANGES).replace("ODD", &quote(&odd(rng)));
    let count = rng.u32(1..20);
    format!(
        "update postrider.messages m set {change} where id = any (array(
             select m.id from postrider.messages m where {OF_HOSTILE}
              order by random() limit {count}))"
    )
}

fn history(rng: &mut Rng) -> String {
    let outcome =
        pick(rng, &["sent", "permanent_failure", "inhibited", "cancelled", "expired", "pending"]);
    format!(
        "insert into postrider.history (id, notification_id, template_id, dedupe_key, claim,
             created_at, finished_at, outcome, priority, attempt, method, recipient_id, note,
             created_by, targets, payload)
         values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), {},
             {}, {}, '{outcome}', {}, {}, {}, {}, {}, '', '{{}}', coalesce({}::jsonb, '1'))",
        rng.i64(..),
        time(rng),
        time(rng),
        rng.i16(..),
        rng.i32(..),
        text(rng),
        text(rng),
        text(rng),
        json(rng)
    )
}

fn name(rng: &mut Rng) -> String {
    if rng.bool() { odd(rng) } else { format!("m{}", rng.u32(..)) }
}

fn settings(rng: &mut Rng) -> String {
    let value = json(rng);
    match rng.u8(..3) {
        0 => format!("insert into postrider.settings values ({}, {value})", quote(&name(rng))),
        1 => format!(
            "insert into postrider.settings values ('paused_since', {value}) on conflict (name)
             do update set value = excluded.value"
        ),
        _ => {
            let name = pick(rng, &["bell", "dedupe_retention", "upkeep"]);
            format!("update postrider.settings set value = {value} where name = '{name}'")
        }
    }
}

fn call(rng: &mut Rng) -> String {
    pick(
        rng,
        &[
            "select postrider.make_partitions()",
            "select postrider.drop_partitions('1 day', '1 day')",
            "select postrider.drop_partitions('0', '1 day')",
            "select postrider.drop_partitions(null, '1 day')",
            "select postrider.drop_partitions('-178000000 years', '178000000 years')",
            "select postrider.drop_partitions('178000000 years', '1 day')",
            "select postrider.expire_messages(2147483647)",
            "select postrider.expire_messages(-1)",
            "select postrider.expire_messages(null)",
            "select postrider.enqueue('good', '{\"id\": \"x\"}')",
            "select nextval('postrider.claims') from generate_series(1, 10000)",
            "select nextval('postrider.endpoint_versions')",
        ],
    )
    .into()
}

/// Rows by which workers know of each other.
fn helpers(rng: &mut Rng) -> String {
    match rng.u8(..5) {
        0 => "delete from postrider.doorbell".into(),
        1 => format!("insert into postrider.doorbell values (gen_random_uuid(), {})", time(rng)),
        2 => "delete from postrider.workers".into(),
        3 => format!(
            "insert into postrider.workers values (gen_random_uuid(), {}, {}, {}, {}, {})",
            text(rng),
            rng.i32(..),
            text(rng),
            time(rng),
            time(rng)
        ),
        _ => format!(
            "update postrider.endpoints set disabled_at = {}, disabled_reason = {}
              where name like 'hostile-%'",
            time(rng),
            text(rng)
        ),
    }
}
