//! What became of the demo's messages, and whether it is what the input expects.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use postrider::message::MessageId;
use postrider::store::admin::messages::MessageInfo;
use serde::Serialize;

use super::expect::Expectations;
use crate::cli::output::table;

/// Counts by something.
type Counts = BTreeMap<String, usize>;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    messages: usize,
    by_status: Counts,
    by_method: BTreeMap<String, Counts>,
    unexpected: usize,
    seconds: f64,
    #[serde(skip)]
    rows: BTreeMap<String, Row>,
    #[serde(skip)]
    surprises: Vec<String>,
}

/// A line of the table.
#[derive(Debug, Default)]
struct Row {
    sent: usize,
    retried: usize,
    failed: usize,
    reasons: Counts,
}

impl Report {
    pub(super) fn new(messages: &[MessageInfo], expected: &Expectations, took: Duration) -> Self {
        let mut report = Self {
            messages: messages.len(),
            by_status: Counts::new(),
            by_method: BTreeMap::new(),
            unexpected: expected.wrong_answers() + expected.messages().abs_diff(messages.len()),
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            rows: BTreeMap::new(),
            surprises: Vec::new(),
        };
        for message in messages {
            report.add(message, expected);
        }
        report
    }

    fn add(&mut self, message: &MessageInfo, expected: &Expectations) {
        let (method, status) = (&message.method, &message.status);
        *self.by_status.entry(status.clone()).or_default() += 1;
        let statuses = self.by_method.entry(method.clone()).or_default();
        *statuses.entry(status.clone()).or_default() += 1;
        let row = self.rows.entry(method.clone()).or_default();
        row.retried += usize::from(1 < message.attempt);
        if status == "sent" {
            row.sent += 1;
        } else {
            row.failed += 1;
            let code = message.code.clone().unwrap_or_else(|| status.clone());
            *row.reasons.entry(code).or_default() += 1;
        }
        let expect = expected.status(MessageId(message.id)).unwrap_or("nothing");
        if expect != status {
            self.unexpected += 1;
            let reason = message.reason.as_deref().unwrap_or("no reason");
            self.surprises.push(format!(
                "message {} {method} is {status}, expected {expect}: {reason}\n",
                message.id
            ));
        }
    }

    pub(super) fn unexpected(&self) -> usize {
        self.unexpected
    }

    pub(super) fn text(&self, arrivals: &Path) -> String {
        let row = |(method, row): (&String, &Row)| {
            let why: Vec<String> =
                row.reasons.iter().map(|(code, n)| format!("{code} ({n})")).collect();
            let [sent, retried, failed] =
                [row.sent, row.retried, row.failed].map(|n| n.to_string());
            [method.clone(), sent, retried, failed, why.join(", ")]
        };
        let headings = ["method", "sent", "retried", "failed", "why"];
        format!(
            "\n{}\n{} messages in {:.1} s, {} unexpected\n{}\na mail:    {}\na webhook: {}\n",
            table(headings, self.rows.iter().map(row).collect()),
            self.messages,
            self.seconds,
            self.unexpected,
            self.surprises.concat(),
            arrivals.join("mails/0001.eml").display(),
            arrivals.join("webhooks/0001.http").display(),
        )
    }
}
