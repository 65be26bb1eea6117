//! Templates and endpoints at their limits, saved with plain SQL.

use fastrand::Rng;
use postgres::{Client, Error};

use crate::generator::{PREFIX, TEMPLATES};
use crate::value::{grow, odd, pick};

/// Saves a template under one of the hostile names.
pub(crate) fn save(client: &mut Client, rng: &mut Rng) -> Result<u64, Error> {
    let name = format!("{PREFIX}-{}", rng.u32(..TEMPLATES));
    let title = if rng.u8(..8) == 0 { body(rng) } else { "Hello".into() };
    let mut actions = String::from("[]");
    if rng.u8(..12) == 0 {
        actions.clear();
        grow(rng, &mut actions, 3);
    }
    let (label, url) = (odd(rng), odd(rng));
    if rng.u8(..8) == 0 {
        actions = serde_json::json!([{"label": label, "url": url}]).to_string();
    }
    let extra = |rng: &mut Rng| (rng.u8(..16) == 0).then(|| odd(rng));
    let (from, reply, leave, thread) = (extra(rng), extra(rng), extra(rng), extra(rng));
    let method = pick(rng, &["", "", "", "inbox", "nobody"]);
    let dedupe = (rng.u8(..6) == 0).then_some("day");
    let sql = "insert into postrider.templates (name, title, body, actions, method, from_address,
                   reply_to, unsubscribe_url, thread_key, dedupe)
               values ($1, $2, $3, $4::text::jsonb, nullif($5, ''), $6, $7, $8, $9, $10)
               on conflict (name) do update set title = excluded.title, body = excluded.body,
                   actions = excluded.actions, method = excluded.method,
                   from_address = excluded.from_address, reply_to = excluded.reply_to,
                   unsubscribe_url = excluded.unsubscribe_url, thread_key = excluded.thread_key,
                   dedupe = excluded.dedupe";
    let body = body(rng);
    client.execute(
        sql,
        &[&name, &title, &body, &actions, &method, &from, &reply, &leave, &thread, &dedupe],
    )
}

/// Saves an endpoint under one of the hostile names.
pub(crate) fn save_endpoint(
    client: &mut Client,
    rng: &mut Rng,
    urls: &[String],
) -> Result<u64, Error> {
    let name = format!("{PREFIX}-{}", rng.u32(..TEMPLATES));
    let url = if rng.bool() { rng.choice(urls).unwrap().clone() } else { odd(rng) };
    let template = (rng.u8(..3) == 0).then(|| body(rng).chars().take(60_000).collect::<String>());
    let plain = ["standard", "cloudevents", "slack", "teams", "discord"];
    let format = if template.is_some() { "template" } else { pick(rng, &plain) };
    let (mut secrets, mut headers) = (String::from("[]"), String::from("{}"));
    match rng.u8(..4) {
        0 | 1 => (),
        2 => {
            secrets = r#"[{"key": "whsec_AAAA", "expires_at": null}]"#.into();
            headers = serde_json::json!({ odd(rng): odd(rng) }).to_string();
        }
        _ => {
            (secrets, headers) = (String::new(), String::new());
            grow(rng, &mut secrets, 3);
            grow(rng, &mut headers, 3);
        }
    }
    let sql = "insert into postrider.endpoints (name, url, format, template, secrets, headers)
               values ($1, $2, $3, $4, $5::text::jsonb, $6::text::jsonb)
               on conflict (name) do update set url = excluded.url, format = excluded.format,
                   template = excluded.template, secrets = excluded.secrets,
                   headers = excluded.headers, disabled_at = null, disabled_reason = null";
    client.execute(sql, &[&name, &url, &format, &template, &secrets, &headers])
}

/// The largest body that is taken.
const BODY: usize = 16 << 10;

/// As large as it may be, mostly.
fn body(rng: &mut Rng) -> String {
    let mut body = any_body(rng);
    if rng.u8(..10) != 0 {
        body.truncate(body.floor_char_boundary(BODY));
    }
    body
}

fn any_body(rng: &mut Rng) -> String {
    let count = rng.usize(1..502);
    match rng.u8(..15) {
        0 => "{{#each data}}{{#each ../data}}{{this}} {{../this}} {{user_name}}{{/each}}{{/each}}"
            .into(),
        1 => "{{#each data}}{{#each ../data}}{{lookup ../../data @index}}{{/each}}{{/each}}".into(),
        2 => {
            let item = |level: usize| "  ".repeat(level % 300) + "- x\n";
            (0..count).map(item).collect()
        }
        3 => format!("{}x", "> ".repeat(count * 16)),
        4 => pick(rng, &["[", "*", "_", "`", "![", "<", "\\", "|", "#", "~~", "&#"])
            .repeat(count * 32),
        5 => "x".repeat(1 << 20),
        6 => "{{user_name}}".repeat(count),
        7 => "{{urlencode data}} {{len data}} {{lookup data 3}} {{data}}".repeat(count / 4),
        8 => {
            pick(rng, &["{{#if", "{{/x}}", "{{> partial}}", "{{#each}}", "{{{{raw}}}}", "{{a..b}}"])
                .into()
        }
        9 => {
            let levels = rng.usize(14..18);
            format!("{}x{}", "{{#if data}}".repeat(levels), "{{/if}}".repeat(levels))
        }
        10 => "| a | b |\n|---|---|\n".repeat(count),
        11 => "{{data}}\n\n".repeat(count),
        12 => format!("[x][a]\n\n{}", "[a]: http://x\n".repeat(count)),
        13 => format!(
            "{{{{#if {}data{}}}}}x{{{{/if}}}}",
            "(not ".repeat(count % 20),
            ")".repeat(count % 20)
        ),
        _ => odd(rng).repeat(count),
    }
}
