//! The books: what the tables say must agree with what the peer saw.

use std::collections::{HashMap, HashSet};
use std::fmt;

use postgres::Client;
use postrider::message::MessageId;
use uuid::Uuid;

use crate::database::TEMPLATE;
use crate::peer::{Answers, Fate};
use crate::producer::BATCH_MAX;

/// Failures after which the peer may have the message all the same.
const UNSURE: [&str; 4] = ["timeout", "connection_lost", "connect", "bad_response"];

/// True of all but hostile messages.
const OURS: &str =
    "template_id = (select t.id from postrider.templates t where t.name = 'greeting')";
const _: () = assert!(TEMPLATE.len() == 8);

/// Messages that are not final.
pub(crate) fn live(admin: &mut Client) -> i64 {
    let sql = format!("select count(*) from postrider.messages where {OURS}");
    admin.query_one(&sql, &[]).unwrap().get(0)
}

/// Workers that have not taken leave.
pub(crate) fn workers(admin: &mut Client) -> i64 {
    let sql = "select count(*) from postrider.workers where heartbeat_at > now() - interval '10 s'";
    admin.query_one(sql, &[]).unwrap().get(0)
}

/// Id of the worker that is this process.
pub(crate) fn worker(admin: &mut Client, pid: u32) -> Option<Uuid> {
    let sql = "select id from postrider.workers where pid = $1 order by heartbeat_at desc limit 1";
    let row = admin.query_opt(sql, &[&i32::try_from(pid).unwrap()]).unwrap();
    row.map(|row| row.get(0))
}

/// Messages that a worker holds.
pub(crate) fn held_by(admin: &mut Client, worker: Uuid) -> i64 {
    let sql = "select count(*) from postrider.messages where claimed_by = $1 and claim <> 0";
    admin.query_one(sql, &[&worker]).unwrap().get(0)
}

/// A finished message.
struct Finished {
    id: MessageId,
    number: u64,
    status: String,
    code: Option<String>,
    attempt: u64,
}

/// Attempts of one message that were recorded: number and code, in order.
type Recorded = Vec<(u64, String, String)>;

/// What the books came to.
#[derive(Debug, Default)]
pub(crate) struct Books {
    lapsed: u64,
    allowed: u64,
    duplicates: u64,
    unsure: u64,
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lapsed, allowed, duplicates, unsure } = self;
        write!(f, "{lapsed} leases ran out ({allowed} allowed), {unsure} answers were lost; ")?;
        write!(f, "{duplicates} messages were accepted once more")
    }
}

/// Messages, hostile ones too, that are there twice, or whose lease ran out long ago.
pub(crate) fn astray(admin: &mut Client) -> i64 {
    let sql = "select (select count(*) - count(distinct id) from postrider.all_messages)
                    + (select count(*) from postrider.messages
                        where lease_until < now() - interval '10 s')";
    admin.query_one(sql, &[]).unwrap().get(0)
}

/// Checks every message; panics at the first that is not as it must be.
pub(crate) fn audit(
    admin: &mut Client,
    answers: &HashMap<MessageId, Answers>,
    enqueued: u64,
    allowed: u64,
) -> Books {
    let mut recorded = recorded(admin);
    let mut books = Books { allowed, ..Books::default() };
    let mut numbers = HashSet::new();
    for message in finished(admin) {
        assert!(numbers.insert(message.number), "message {} is there twice", message.number);
        let answers = answers.get(&message.id).copied().unwrap_or_default();
        let recorded = recorded.remove(&message.id).unwrap_or_default();
        check(&message, answers, &recorded, &mut books);
    }
    let known = u64::try_from(numbers.len()).unwrap();
    // The last enqueue may have committed after its answer was given up.
    let range = enqueued..=enqueued + BATCH_MAX;
    assert!(range.contains(&known), "{enqueued} enqueued, {known} are there");
    assert!((1..=enqueued).all(|it| numbers.contains(&it)), "a message is lost");
    assert!(books.lapsed <= allowed, "more leases ran out than the faults explain: {books}");
    books
}

fn check(message: &Finished, answers: Answers, recorded: &Recorded, books: &mut Books) {
    let Finished { number, status, code, attempt, .. } = message;
    let picture = format!(
        "message {number}: {status} {code:?}, attempt {attempt}, {answers:?}, {recorded:?}"
    );
    let code = code.as_deref();
    match Fate::of(*number) {
        Fate::Gone => {
            assert_eq!(
                (status.as_str(), code),
                ("permanent_failure", Some("http_410")),
                "{picture}"
            );
            assert!(0 < answers.gone, "{picture}");
        }
        Fate::Fine | Fate::Slow | Fate::Flaky => {
            assert_eq!(status, "sent", "{picture}");
            assert!(0 < answers.accepted, "sent, but not accepted: {picture}");
        }
    }
    // An attempt is counted by its outcome; a success at the first try leaves no row.
    let rows = u64::try_from(recorded.len()).unwrap() + u64::from(recorded.is_empty());
    assert_eq!(rows, *attempt, "attempts and records differ: {picture}");
    // An answer that no outcome stands for was given to a worker that lost its lease.
    let lapsed = answers.total().saturating_sub(*attempt);
    let distinct: HashSet<u64> = recorded.iter().map(|it| it.0).collect();
    assert_eq!(distinct.len(), recorded.len(), "an attempt is recorded twice: {picture}");
    assert!(distinct.iter().all(|it| (1..=*attempt).contains(it)), "{picture}");
    let count =
        |code: &str| u64::try_from(recorded.iter().filter(|it| it.2 == code).count()).unwrap();
    assert!(count("http_503") <= answers.busy, "a 503 that was not given: {picture}");
    assert!(count("http_410") <= answers.gone, "a 410 that was not given: {picture}");
    let unsure: u64 = UNSURE.iter().map(|code| count(code)).sum();
    let known =
        |code: &str| UNSURE.contains(&code) || matches!(code, "http_503" | "http_410" | "200");
    assert!(recorded.iter().all(|it| known(&it.2)), "a failure that nobody made: {picture}");
    let final_answers = answers.accepted + answers.gone;
    assert!(final_answers <= 1 + lapsed + unsure, "a duplicate that no fault explains: {picture}");
    books.lapsed += lapsed;
    books.unsure += unsure;
    books.duplicates += final_answers - 1;
}

fn finished(admin: &mut Client) -> Vec<Finished> {
    let sql = format!(
        "select id, created_by, status::text, code, attempt from postrider.all_messages where {OURS}"
    );
    let rows = admin.query(&sql, &[]).unwrap();
    let finished = rows.iter().map(|row| Finished {
        id: MessageId(row.get(0)),
        number: row.get::<_, String>(1).parse().unwrap(),
        status: row.get(2),
        code: row.get(3),
        attempt: u64::try_from(row.get::<_, i32>(4)).unwrap(),
    });
    finished.collect()
}

fn recorded(admin: &mut Client) -> HashMap<MessageId, Recorded> {
    let sql = "select message_id, attempt, outcome, coalesce(code, '') from postrider.attempts
                order by message_id, claim";
    let mut recorded: HashMap<MessageId, Recorded> = HashMap::new();
    for row in admin.query(sql, &[]).unwrap() {
        let attempt = u64::try_from(row.get::<_, i32>(1)).unwrap();
        recorded.entry(MessageId(row.get(0))).or_default().push((attempt, row.get(2), row.get(3)));
    }
    recorded
}
