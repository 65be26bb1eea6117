//! A batch of outcomes as the columns of `commit.sql`.

use std::cmp::Reverse;
use std::time::Instant;

use uuid::Uuid;

use crate::lease::Settled;
use crate::outcome::Outcome;
use crate::store::typed::Param;

/// One vector a parameter, rows in the order of their ids, in which the statement searches them.
pub(super) struct Batch<'a> {
    ids: Vec<Uuid>,
    claims: Vec<i64>,
    outcomes: Vec<&'static str>,
    delays: Vec<f64>,
    counted: Vec<bool>,
    codes: Vec<Option<&'a str>>,
    notes: Vec<Option<&'a str>>,
    began_ago: Vec<f64>,
    ended_ago: Vec<f64>,
    inbox_ids: Vec<Uuid>,
    inbox_titles: Vec<&'a str>,
    inbox_contents: Vec<&'a str>,
    inbox_actions: Vec<String>,
    refused_ids: Vec<Uuid>,
}

/// What an outcome puts into its row.
#[derive(Debug, PartialEq)]
struct Columns<'a> {
    outcome: &'static str,
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
            codes: Vec::with_capacity(n),
            notes: Vec::with_capacity(n),
            began_ago: Vec::with_capacity(n),
            ended_ago: Vec::with_capacity(n),
            inbox_ids: Vec::new(),
            inbox_titles: Vec::new(),
            inbox_contents: Vec::new(),
            inbox_actions: Vec::new(),
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
        self.began_ago.push(ago(row.started));
        self.ended_ago.push(ago(row.finished));
        if let Outcome::Sent(receipt) = &row.outcome
            && let Some(entry) = &receipt.inbox
        {
            self.inbox_ids.push(row.key.id.0);
            self.inbox_titles.push(&entry.title);
            self.inbox_contents.push(&entry.content);
            let actions = serde_json::to_string(&entry.actions);
            self.inbox_actions.push(actions.expect("two strings make JSON"));
        }
        if matches!(row.outcome, Outcome::BadAddress { .. }) {
            self.refused_ids.push(row.key.id.0);
        }
    }

    pub(super) fn params<'b>(&'b self, worker: &'b Uuid) -> [&'b dyn Param; 15] {
        [
            &self.ids,
            &self.claims,
            &self.outcomes,
            &self.delays,
            &self.counted,
            &self.codes,
            &self.notes,
            &self.began_ago,
            &self.ended_ago,
            worker,
            &self.inbox_ids,
            &self.inbox_titles,
            &self.inbox_contents,
            &self.inbox_actions,
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
            ..row("sent", true)
        },
        Outcome::Deferred { delay, counted, code, reason } => Columns {
            delay: delay.as_secs_f64(),
            code: Some(code),
            note: Some(reason),
            ..row("temporary_failure", *counted)
        },
        Outcome::Failed { counted, code, reason } => {
            Columns { code: Some(code), note: Some(reason), ..row("permanent_failure", *counted) }
        }
        Outcome::BadAddress { code, reason } => {
            Columns { code: Some(code), note: Some(reason), ..row("permanent_failure", true) }
        }
        Outcome::Inhibited => {
            Columns { note: Some("disabled by recipient"), ..row("inhibited", false) }
        }
        Outcome::Expired { counted, reason } => {
            Columns { code: Some("expired"), note: Some(reason), ..row("expired", *counted) }
        }
        Outcome::Released { delay } => {
            Columns { delay: delay.as_secs_f64(), ..row("released", false) }
        }
    }
}
