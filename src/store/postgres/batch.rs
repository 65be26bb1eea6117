//! A batch of outcomes as the columns of `commit.sql`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use postgres::types::Json;
use uuid::Uuid;

use crate::lease::Settled;
use crate::message::{InboxEntry, MessageId};
use crate::outcome::Outcome;
use crate::store::typed::Param;

/// One vector a parameter, rows in the order of their ids, in which the statement searches them.
pub(super) struct Batch<'a> {
    ids: Vec<Uuid>,
    claims: Vec<i64>,
    outcomes: Vec<i16>,
    delays: Vec<f64>,
    counted: Vec<bool>,
    codes: Words<'a>,
    notes: Words<'a>,
    destinations: Words<'a>,
    began_ago: Vec<f64>,
    ended_ago: Vec<f64>,
    versions: Vec<i32>,
    inbox: Json<BTreeMap<MessageId, &'a InboxEntry>>,
    refused_ids: Vec<Uuid>,
}

/// Texts of a column, each once, and which of them a row has, from 1; 0 is none.
///
/// Most rows of a batch have the same text, and PostgreSQL would walk through an array with one for each row
/// to get at the last.
#[derive(Default)]
struct Words<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, i32>,
    of_rows: Vec<i32>,
}

impl<'a> Words<'a> {
    fn push(&mut self, text: Option<&'a str>) {
        let number = text.map_or(0, |text| {
            *self.numbers.entry(text).or_insert_with(|| {
                self.texts.push(text);
                i32::try_from(self.texts.len()).expect("a batch has some hundred rows")
            })
        });
        self.of_rows.push(number);
    }
}

/// Outcomes as `commit.sql` numbers them; up to `EXPIRED` the message is finished.
const SENT: i16 = 1;
const PERMANENT_FAILURE: i16 = 2;
const INHIBITED: i16 = 3;
const EXPIRED: i16 = 4;
const TEMPORARY_FAILURE: i16 = 5;
const RELEASED: i16 = 6;

/// What an outcome puts into its row.
#[derive(Debug, PartialEq)]
struct Columns<'a> {
    outcome: i16,
    delay: f64,
    counted: bool,
    code: Option<&'a str>,
    note: Option<&'a str>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(settled: &'a [Settled]) -> Self {
        let mut rows: Vec<&Settled> = settled.iter().collect();
        // Of two leases of one message only the later can be in force.
        rows.sort_unstable_by_key(|row| (row.key.id, Reverse(row.key.claim)));
        rows.dedup_by_key(|row| row.key.id);
        let mut batch = Self::with_capacity(rows.len());
        let now = Instant::now();
        for row in rows {
            batch.push(row, now);
        }
        batch
    }

    fn with_capacity(n: usize) -> Self {
        Self {
            ids: Vec::with_capacity(n),
            claims: Vec::with_capacity(n),
            outcomes: Vec::with_capacity(n),
            delays: Vec::with_capacity(n),
            counted: Vec::with_capacity(n),
            codes: Words::default(),
            notes: Words::default(),
            destinations: Words::default(),
            began_ago: Vec::with_capacity(n),
            ended_ago: Vec::with_capacity(n),
            versions: Vec::with_capacity(n),
            inbox: Json(BTreeMap::new()),
            refused_ids: Vec::new(),
        }
    }

    fn push(&mut self, row: &'a Settled, now: Instant) {
        let columns = columns(&row.outcome);
        let ago = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        self.ids.push(row.key.id.0);
        self.claims.push(row.key.claim);
        self.outcomes.push(columns.outcome);
        self.delays.push(columns.delay);
        self.counted.push(columns.counted);
        self.codes.push(columns.code);
        self.notes.push(columns.note);
        self.destinations.push(row.destination.as_deref());
        self.began_ago.push(ago(row.started));
        self.ended_ago.push(ago(row.finished));
        self.versions.push(row.template_version.unwrap_or_default());
        if let Some(entry) = row.outcome.inbox_entry() {
            self.inbox.0.insert(row.key.id, entry);
        }
        if matches!(row.outcome, Outcome::BadAddress { .. }) {
            self.refused_ids.push(row.key.id.0);
        }
    }

    pub(super) fn params<'b>(&'b self, worker: &'b Uuid) -> [&'b dyn Param; 17] {
        [
            &self.ids,
            &self.claims,
            &self.outcomes,
            &self.delays,
            &self.counted,
            &self.codes.texts,
            &self.notes.texts,
            &self.destinations.texts,
            &self.codes.of_rows,
            &self.notes.of_rows,
            &self.destinations.of_rows,
            &self.began_ago,
            &self.ended_ago,
            &self.versions,
            worker,
            &self.inbox,
            &self.refused_ids,
        ]
    }
}

fn columns(outcome: &Outcome) -> Columns<'_> {
    let row = |outcome, counted| Columns { outcome, delay: 0.0, counted, code: None, note: None };
    match outcome {
        Outcome::Sent(receipt) => Columns {
            code: receipt.code.as_deref(),
            note: receipt.detail.as_deref(),
            ..row(SENT, true)
        },
        Outcome::Deferred { delay, counted, code, reason } => Columns {
            delay: delay.as_secs_f64(),
            code: Some(code),
            note: Some(reason),
            ..row(TEMPORARY_FAILURE, *counted)
        },
        Outcome::Failed { counted, code, reason } => {
            Columns { code: Some(code), note: Some(reason), ..row(PERMANENT_FAILURE, *counted) }
        }
        Outcome::BadAddress { code, reason } => {
            Columns { code: Some(code), note: Some(reason), ..row(PERMANENT_FAILURE, true) }
        }
        Outcome::Inhibited => {
            Columns { note: Some("disabled by recipient"), ..row(INHIBITED, false) }
        }
        Outcome::Expired { counted, reason } => {
            Columns { code: Some("expired"), note: Some(reason), ..row(EXPIRED, *counted) }
        }
        Outcome::Released { delay } => {
            Columns { delay: delay.as_secs_f64(), ..row(RELEASED, false) }
        }
    }
}
