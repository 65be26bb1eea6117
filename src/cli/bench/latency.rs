//! Time from the commit of an enqueue to the arrival at the webhook sink, at a steady rate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use postrider::enqueue::{self, Enqueued};
use postrider::message::MessageId;
use postrider::sink::http::{Reply, WebhookSink};
use serde::Serialize;

use super::Mode;
use super::ground::{Ground, notification};
use crate::cli::output::Failed;

/// Longest that the last arrivals are waited for.
const DRAIN: Duration = Duration::from_secs(20);

/// Milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    rate: u32,
    messages: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Latency {
    pub(super) fn text(&self) -> String {
        let Self { rate, messages, p50_ms, p99_ms, max_ms } = self;
        format!(
            "{messages} messages at {rate}/s: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms, max {max_ms:.2} ms"
        )
    }
}

/// Arrivals by id.
type Arrivals = Arc<Mutex<HashMap<MessageId, Instant>>>;

pub(super) fn measure(
    ground: &mut Ground,
    rate: u32,
    duration: Duration,
) -> Result<Latency, Failed> {
    if ground.mode != Mode::Webhook || ground.webhook.is_none() {
        return Err(Failed::usage("--latency measures --mode webhook with its own sink"));
    }
    let arrivals = Arrivals::default();
    let sink = stamping_sink(Arc::clone(&arrivals))?;
    ground.config.webhook.endpoint = Some(sink.url("/hook"));
    let running = ground.worker()?.start().map_err(|err| Failed::new(err.to_string()))?;
    let commits = enqueue_steadily(ground, rate, duration)?;
    let began = Instant::now();
    while lock(&arrivals).len() < commits.len() && began.elapsed() < DRAIN {
        thread::sleep(Duration::from_millis(10));
    }
    running.stop().map_err(|err| Failed::new(err.to_string()))?;
    let arrivals = lock(&arrivals);
    let mut millis: Vec<f64> = commits
        .iter()
        .filter_map(|(id, at)| Some(arrivals.get(id)?.saturating_duration_since(*at)))
        .map(|span| span.as_secs_f64() * 1000.0)
        .collect();
    if millis.len() < commits.len() {
        let missing = commits.len() - millis.len();
        return Err(Failed::new(format!("{missing} messages did not arrive within {DRAIN:?}")));
    }
    millis.sort_by(f64::total_cmp);
    let at = |share: usize| millis.get((millis.len() * share / 100).min(millis.len() - 1)).copied();
    let round = |value: Option<f64>| (value.unwrap_or_default() * 1000.0).round() / 1000.0;
    Ok(Latency {
        rate,
        messages: millis.len(),
        p50_ms: round(at(50)),
        p99_ms: round(at(99)),
        max_ms: round(at(100)),
    })
}

fn stamping_sink(arrivals: Arrivals) -> Result<WebhookSink, Failed> {
    WebhookSink::start(move |request| {
        let now = Instant::now();
        let id = request.header("x-message-id").and_then(|id| id.parse().ok());
        if let Some(id) = id {
            lock(&arrivals).entry(MessageId(id)).or_insert(now);
        }
        Reply::status(204)
    })
    .map_err(|err| Failed::new(format!("start the webhook sink: {err}")))
}

fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, HashMap<MessageId, Instant>> {
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enqueues one message a transaction, and returns when each commit was answered.
fn enqueue_steadily(
    ground: &mut Ground,
    rate: u32,
    duration: Duration,
) -> Result<Vec<(MessageId, Instant)>, Failed> {
    let pause = Duration::from_secs(1) / rate;
    let began = Instant::now();
    let mut commits = Vec::new();
    let mut number = 0_u32;
    while began.elapsed() < duration {
        thread::sleep((began + pause * number).saturating_duration_since(Instant::now()));
        number += 1;
        let notification = notification(Mode::Webhook, number);
        let enqueued = enqueue::enqueue(&mut ground.client, &notification)
            .map_err(|err| Failed::new(err.to_string()))?;
        let now = Instant::now();
        let Enqueued::Enqueued { messages, .. } = enqueued else {
            return Err(Failed::new("the benchmark's notifications are all different"));
        };
        commits.extend(messages.into_iter().map(|(id, _)| (id, now)));
    }
    Ok(commits)
}
