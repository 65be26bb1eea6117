//! All that takes part, its course, and what must hold at the end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::tick;
use fastrand::Rng;
use postgres::Client;
use postrider::config::{AllowPrivate, ByteSize, Config, RetryConfig, Secret, SmtpTls};
use postrider::embedded::Postgres;
use postrider::worker::{Running, Worker};
use uuid::Uuid;

use crate::generator;
use crate::good::{Good, Producer, Sinks};
use crate::ground::Ground;
use crate::hostile::Hostile;
use crate::memory::worker_most;
use crate::peers::Peers;
use crate::plan::{Plan, Role};
use crate::session::SPARE;
use crate::wait::{comes_true, wait_until};
use crate::watch::Watch;

/// Latest arrival after the commit of the enqueue.
const LATE: Duration = Duration::from_secs(5);
/// Longest time for the good ones to arrive at the end, and for hostile ones to be looked at.
const DRAIN: Duration = Duration::from_secs(30);
const MEMORY_MAX: usize = 64 << 20;
/// What the worker may take beside `worker.memory_max`.
const BESIDE: usize = 40 << 20;
/// Leases of one message: so many, and one more each 5 s.
const CLAIMS: u64 = 20;

/// Plays one role; returns the report.
pub(crate) fn play(server: &Postgres, role: Role, plan: &Plan) -> String {
    let (peers, sinks, ground) = (Peers::start(), Sinks::start(), Ground::new(server, role));
    let mut admin = ground.admin();
    generator::prepare(&mut admin, &mut Rng::with_seed(plan.seed), &peers.urls());
    let (_, before) = worker_most();
    let running = worker(&ground, &sinks);
    let watch = Watch::start(ground.admin());
    let producer = Producer::start(ground.url("good"), plan.good, &sinks);
    let mut hostile = Hostile::new(role, &ground, plan.seed, peers.urls());
    let began = Instant::now();
    for _ in tick(Duration::from_secs(1) / plan.hostile) {
        if plan.length <= began.elapsed() {
            break;
        }
        hostile.act();
        assert!(running.is_running(), "the worker ended");
    }
    let goods = producer.stop();
    let latest = check_good(&mut admin, &sinks, &goods);
    check_hostile(&mut admin);
    let (most, _) = worker_most();
    let sessions = watch.stop();
    assert!(sessions < SPARE, "a session of the worker had {sessions} KiB");
    running.stop().expect("the worker stops cleanly");
    let claims = check_end(&mut admin, role, plan.length);
    let most = usize::try_from(most - before).unwrap();
    assert!(most < MEMORY_MAX + BESIDE, "the worker had {most} bytes in use");
    format!(
        "{}: {} good ones, the latest after {latest:.1?}; hostile statements: {:?}; KiB: {} of a \
         hostile session, {sessions} of the worker's, {} of the worker; at most {claims} leases \
         of a message; {}",
        role.name(),
        goods.len(),
        hostile.tally,
        hostile.most(),
        most >> 10,
        outcomes(&mut admin),
    )
}

fn worker(ground: &Ground<'_>, sinks: &Sinks) -> Running {
    let mut config = Config::default();
    config.database.url = Some(Secret::new(ground.url("worker")));
    config.worker.threads = 16;
    config.worker.memory_max = ByteSize(MEMORY_MAX);
    config.worker.fetch_interval = Duration::from_secs(1);
    config.worker.dispatch_timeout = Duration::from_secs(3);
    config.worker.lease_period = Duration::from_secs(20);
    config.webhook.allow_private = AllowPrivate::All;
    config.smtp.host = Some("127.0.0.1".into());
    config.smtp.port = sinks.smtp.addr().port();
    config.smtp.tls = Some(SmtpTls::None);
    config.smtp.from = Some("Postrider <post@example.com>".into());
    let delays = [1, 5, 30].map(Duration::from_secs);
    config.retry = RetryConfig { schedule: Some(delays.to_vec()), ..RetryConfig::default() };
    Worker::new(config).unwrap().start().unwrap()
}

/// Good messages arrived once, in time, and say so. Returns how late the latest was.
fn check_good(admin: &mut Client, sinks: &Sinks, goods: &[Good]) -> Duration {
    let ids: Vec<Uuid> = goods.iter().map(|good| good.id).collect();
    let sql = "select count(*) from postrider.messages where id = any ($1)";
    wait_until(DRAIN, "all good messages have ended", || {
        admin.query_one(sql, &[&ids]).unwrap().get::<_, i64>(0) == 0
    });
    // The time of an inbox entry is that of its commit, as far as it can be known.
    let sql = "select h.id, h.outcome::text, h.attempt, h.note,
                      date_part('epoch', h.finished_at - h.created_at), i.id is not null
                 from postrider.history h left join postrider.inbox i on i.id = h.id
                where h.id = any ($1)";
    let rows = admin.query(sql, &[&ids]).unwrap();
    let ended: HashMap<Uuid, _> = rows.iter().map(|row| (row.get::<_, Uuid>(0), row)).collect();
    assert_eq!(rows.len(), goods.len(), "each good message ended once");
    let mut latest = Duration::ZERO;
    for good in goods {
        let row = ended[&good.id];
        let (outcome, note) = (row.get::<_, String>(1), row.get::<_, Option<String>>(3));
        assert_eq!(outcome, "sent", "{good:?}: {note:?}");
        let took = if good.method == "inbox" {
            assert!(row.get::<_, bool>(5), "no inbox entry of {good:?}");
            Duration::from_secs_f64(row.get::<_, f64>(4).max(0.0))
        } else {
            let arrived = sinks.arrivals(good.id);
            assert_eq!(arrived.len(), 1, "{good:?} after {} attempts", row.get::<_, i32>(2));
            arrived[0].saturating_duration_since(good.committed)
        };
        assert!(took < LATE, "{good:?} came after {took:?}, {:?} ago", good.committed.elapsed());
        latest = latest.max(took);
    }
    latest
}

/// No message is due and left alone.
fn check_hostile(admin: &mut Client) {
    let left = "due_at < now() - interval '5 s' and (claim = 0 or lease_until < now())
                and method = any ('{inbox,smtp,webhook}')";
    let mut alone = String::new();
    let none = comes_true(DRAIN, || {
        alone = waiting(admin, left);
        alone.is_empty()
    });
    assert!(none, "due, and left alone:\n{alone}");
}

/// The first of the live messages of which this is true, for people.
fn waiting(admin: &mut Client, which: &str) -> String {
    let sql = format!(
        "select coalesce(string_agg(left((to_jsonb(m) - 'payload' - 'targets' - 'last_error')::text,
                                         900), e'\\n'), '')
           from (select * from postrider.messages where {which} limit 10) m"
    );
    admin.query_one(&sql, &[]).unwrap().get(0)
}

/// What waits does so for a reason, and nothing was leased again and again. Returns the most leases
/// of a message.
fn check_end(admin: &mut Client, role: Role, length: Duration) -> i32 {
    // A hostile worker leases, too.
    if role != Role::Worker {
        let sql = "select count(*) from postrider.messages where claim <> 0";
        assert_eq!(admin.query_one(sql, &[]).unwrap().get::<_, i64>(0), 0, "leases out");
        let silent = "last_error is null and held_since is null
                      and first_due_at < now() - interval '10 s'";
        assert_eq!(waiting(admin, silent), "", "without a reason");
    }
    let sql = "select coalesce(max(count), 0) from public.claims";
    let claims: i32 = admin.query_one(sql, &[]).unwrap().get(0);
    let most = i32::try_from(CLAIMS + length.as_secs() / 5).unwrap();
    assert!(role == Role::Worker || claims <= most, "a message was leased {claims} times");
    claims
}

fn outcomes(admin: &mut Client) -> String {
    let sql = "select string_agg(format('%s %s %s', count, status, code), ', ' order by status)
                 from (select status, code, count(*) from postrider.all_messages m
                        where m.template_id in (select id from postrider.templates
                                                 where name like 'hostile-%')
                        group by status, code) s";
    let text: Option<String> = admin.query_one(sql, &[]).unwrap().get(0);
    text.unwrap_or_default()
}
