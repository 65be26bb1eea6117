//! From lease to outcome: prepare, dispatch and decide. Where panics, policy and the lease meet.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BrandingConfig, Config, WorkerConfig, duration};
use crate::destination::{Destination, Destinations, Room, Shares};
use crate::lease::{Lease, Message, Settled, Unreadable};
use crate::library::Parts;
use crate::message::Prepared;
use crate::outcome::{Failure, Outcome, REASON_MAX, Receipt, storable};
use crate::prepare::prepare;
use crate::render;
use crate::retry::{Attempted, RetryPolicy};
use crate::telemetry;
use crate::transport::{Deadline, Transport, Transports};

/// Longest that the commit of an outcome is expected to take. A delivery that would leave less
/// of its lease is not begun.
const COMMIT_MARGIN_MAX: Duration = Duration::from_secs(5);

/// How long a message waits whose lease has become too short to begin: for a worker that has a
/// thread for it.
const TOO_LATE_PAUSE: Duration = Duration::from_millis(100);

/// How long a message waits that the database refused to send once.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// A message with what it refers to and where it goes, and the right to deliver it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) lease: Lease,
    pub(crate) parts: Parts,
    /// None where it leaves no trace on others.
    pub(crate) destination: Option<Arc<Destination>>,
}

/// Everything needed to turn a lease into an outcome.
pub(crate) struct Delivery {
    transports: Transports,
    policies: BTreeMap<String, RetryPolicy>,
    shares: Shares,
    room: Arc<Room>,
    dispatch_timeout: Duration,
    lease_period: Duration,
    hold_max: Duration,
    lapses_max: u32,
    branding: BrandingConfig,
}

impl Delivery {
    pub(crate) fn new(config: &Config, transports: Transports) -> Self {
        let policies =
            transports.keys().map(|it| (it.clone(), RetryPolicy::for_method(config, it))).collect();
        let WorkerConfig { threads, threads_per_endpoint, dispatch_timeout, lease_period, .. } =
            config.worker;
        let WorkerConfig { hold_max, lapses_max, .. } = config.worker;
        let shares = Shares::new(threads, threads_per_endpoint);
        let (room, branding) = (shares.room(), config.branding.clone());
        Self {
            transports,
            policies,
            shares,
            room,
            dispatch_timeout,
            lease_period,
            hold_max,
            lapses_max,
            branding,
        }
    }

    /// Why a lease ends without a delivery, if it does: its row cannot be read, not wanted any more, time
    /// over, an address that is dead, held for too long, or it may end its worker.
    pub(crate) fn refusal(&self, lease: &Lease) -> Option<Outcome> {
        let message = lease.message();
        let failed = |code: &str, reason: String| {
            Some(Outcome::Failed { counted: false, code: code.into(), reason })
        };
        if let Some(outcome) = message.unreadable.as_ref().map(unreadable) {
            return Some(outcome);
        }
        if message.disabled {
            return Some(Outcome::Inhibited);
        }
        if message.expires_in.is_some_and(|left| left.is_zero()) {
            let reason = "expired before an attempt".to_owned();
            return Some(Outcome::Expired { counted: false, reason });
        }
        if message.suppressed {
            let reason = "a relay refused this address for good; if it is right now, see \
                          `postrider suppression list` and `suppression remove ADDRESS`";
            return failed("suppressed", reason.into());
        }
        if message.held_for.is_some_and(|held| self.hold_max <= held) {
            let code = message.code.as_deref().unwrap_or("held");
            let why = message.last_error.as_deref().unwrap_or("there was no room to deliver it");
            let limit = duration::format(self.hold_max);
            return failed(code, storable(&format!("held for {limit}: {why}"), REASON_MAX));
        }
        if self.lapses_max <= message.lapses {
            let lapses = message.lapses;
            return Some(Outcome::Failed {
                counted: true,
                code: "lease_expired".into(),
                reason: format!(
                    "{lapses} leases ran out while it was delivered alone: it may end its worker"
                ),
            });
        }
        let Some(policy) = self.policies.get(&message.method) else {
            let known: Vec<&str> = self.transports.keys().map(String::as_str).collect();
            let (method, known) = (&message.method, known.join(", "));
            let reason = format!("no transport for method `{method}`; this worker has {known}");
            return failed("unknown_method", reason);
        };
        let max = message.max_attempts.unwrap_or(policy.attempts_max());
        if max < message.attempt {
            return failed("attempts_exhausted", format!("all of {max} attempts were made"));
        }
        None
    }

    /// What is known of far ends at the start: nothing.
    pub(crate) fn destinations(&self) -> Destinations {
        Destinations::new(self.shares, Arc::clone(&self.room))
    }

    /// Where the message goes, if that is a place to be careful with. Its method is known here.
    pub(crate) fn destination(
        &self,
        known: &mut Destinations,
        message: &Message,
        parts: &Parts,
    ) -> Result<Option<Arc<Destination>>, Failure> {
        let transport = self.transports[&message.method].as_ref();
        known.of(message, || guarded(|| transport.destination(parts.url(message))))
    }

    /// Waits for its turn at the destination, prepares the message and tries to deliver it, and ends its lease
    /// either way.
    pub(crate) fn settle(&self, job: Job) -> Settled {
        let Job { mut lease, parts, destination } = job;
        // First of all, so that a message that is put off has cost next to nothing.
        let visit = match destination.as_deref().map(Destination::enter).transpose() {
            Ok(visit) => visit,
            Err(delay) => return lease.settle(Instant::now(), Outcome::Released { delay }),
        };
        // Without a destination it is never put off, but it counts while it takes long.
        let _held = visit.is_none().then(|| self.room.hold());
        let started = Instant::now();
        let transport = self.transports[&lease.message().method].as_ref();
        let (needed, render_max) = (self.time_needed(transport), self.render_max(transport));
        // Not earlier: the wait for a share of the threads may have taken a while.
        if !lease.outlasts(needed + render_max) {
            return lease.settle(started, Outcome::Released { delay: TOO_LATE_PAUSE });
        }
        let prepared = prepare(&mut lease, parts, &self.branding, started + render_max);
        let prepared = prepared.and_then(|prepared| {
            if lease.outlasts(needed) { Ok(prepared) } else { Err(too_slow(started.elapsed())) }
        });
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return self.decide(lease, started, Err(failure)),
        };
        let result = self.deliver(transport, &lease, &prepared);
        if let Some(visit) = visit {
            visit.end(result.as_ref().err());
        }
        self.decide(lease, started, result.map(Receipt::storable))
    }

    fn deliver(
        &self,
        transport: &dyn Transport,
        lease: &Lease,
        prepared: &Prepared,
    ) -> Result<Receipt, Failure> {
        let _under_way = telemetry::delivery(&lease.message().method, lease.waited());
        let deadline = Deadline::after(self.dispatch_timeout);
        guarded(|| transport.deliver(prepared, deadline))?
    }

    /// What a lease must have left for a delivery to begin: its longest, and its commit.
    fn time_needed(&self, transport: &dyn Transport) -> Duration {
        self.longest(transport) + COMMIT_MARGIN_MAX.min(self.spare(transport) / 2)
    }

    /// What a lease must have left besides, to render.
    fn render_max(&self, transport: &dyn Transport) -> Duration {
        render::TIME_MAX.min(self.spare(transport) / 4)
    }

    fn longest(&self, transport: &dyn Transport) -> Duration {
        self.dispatch_timeout + transport.overtime()
    }

    /// What a lease is longer than the longest delivery.
    fn spare(&self, transport: &dyn Transport) -> Duration {
        self.lease_period.saturating_sub(self.longest(transport))
    }

    /// Ends a lease with what came of its attempt.
    pub(crate) fn decide(
        &self,
        lease: Lease,
        started: Instant,
        result: Result<Receipt, Failure>,
    ) -> Settled {
        let message = lease.message();
        let policy = &self.policies[&message.method];
        let attempted = Attempted {
            number: message.attempt,
            max: message.max_attempts.unwrap_or(policy.attempts_max()),
            expires_in: message.expires_in.map(|left| left.saturating_sub(started.elapsed())),
        };
        let outcome = policy.decide(attempted, result, fastrand::f64());
        lease.settle(started, outcome)
    }
}

/// What becomes of a message whose row cannot be read.
fn unreadable(why: &Unreadable) -> Outcome {
    match why {
        Unreadable::Row(why) => Outcome::Failed {
            counted: false,
            code: "unreadable".into(),
            reason: storable(&format!("its row cannot be read: {why}"), REASON_MAX),
        },
        Unreadable::Once(_) => Outcome::Released { delay: UNREADABLE_PAUSE },
    }
}

/// A render that has left too little of the lease. It counts, or the message would be rendered for
/// ever.
fn too_slow(took: Duration) -> Failure {
    let reason = format!("rendering took {took:.1?}, and left too little of the lease to deliver");
    Failure::temporary("render_timeout", reason)
}

/// Calls a transport. A bug in it must cost one attempt, not the delivery thread.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| Failure::panicked("transport", payload.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;
    use crate::lease::LeaseKey;
    use crate::message::MessageId;
    use crate::render::{Template, TemplateSource};

    struct Patient;

    impl Transport for Patient {
        fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
            Ok(Receipt::default())
        }

        fn overtime(&self) -> Duration {
            Duration::from_secs(58)
        }
    }

    /// Goes to one place.
    struct Far;

    impl Transport for Far {
        fn deliver(&self, _: &Prepared, _: Deadline) -> Result<Receipt, Failure> {
            Ok(Receipt::default())
        }

        fn destination(&self, _: Option<&str>) -> Option<String> {
            Some("far://example.com".into())
        }
    }

    /// A message that cannot be rendered, leased for a minute more than a delivery takes at most.
    fn broken() -> (Lease, Parts) {
        leased("{}", "", Duration::from_mins(2))
    }

    /// A message of this payload and the body of its template, leased for so long.
    fn leased(payload: &str, body: &str, left: Duration) -> (Lease, Parts) {
        let payload = RawValue::from_string(payload.into()).unwrap();
        let message = Message { payload, ..Message::sample("far") };
        let key = LeaseKey { id: MessageId(Uuid::from_u128(3)), claim: 1 };
        let lease = Lease::new(key, Instant::now() + left, message);
        let source = TemplateSource { body: body.into(), ..TemplateSource::default() };
        let template = Arc::new(Template::compile(&source).unwrap());
        (lease, Parts { template, endpoint: None })
    }

    #[test]
    fn a_message_that_is_put_off_is_not_rendered() {
        let mut config = Config::default();
        config.worker.threads_per_endpoint = Some(1);
        let transports = Transports::from([("far".to_owned(), Arc::new(Far) as Arc<_>)]);
        let delivery = Delivery::new(&config, transports);
        let (lease, parts) = broken();
        let mut known = delivery.destinations();
        let found = delivery.destination(&mut known, lease.message(), &parts);
        let destination = found.unwrap().expect("it goes to one place");
        let settle = |(lease, parts)| {
            let destination = Some(Arc::clone(&destination));
            delivery.settle(Job { lease, parts, destination }).outcome
        };
        let visit = destination.enter().unwrap();
        assert!(matches!(settle((lease, parts)), Outcome::Released { .. }));
        drop(visit);
        assert!(matches!(settle(broken()), Outcome::Failed { .. }), "it cannot be rendered");
    }

    /// A delivery with a lease that leaves a millisecond to render.
    fn hurried() -> Delivery {
        let mut config = Config::default();
        config.worker.lease_period = config.worker.dispatch_timeout + Duration::from_millis(4);
        Delivery::new(&config, Transports::from([("far".to_owned(), Arc::new(Far) as Arc<_>)]))
    }

    #[test]
    fn a_render_that_takes_too_long_is_an_attempt_that_counts() {
        let items = vec!["1"; 15_000].join(",");
        let payload = format!("{{\"_version\": \"1.2\", \"data\": [{items}]}}");
        let body = "{{#each data}}{{#if (eq this 2)}}x{{/if}}{{/each}}";
        let (lease, parts) = leased(&payload, body, Duration::from_mins(2));
        let settled = hurried().settle(Job { lease, parts, destination: None });
        let Outcome::Deferred { counted, code, .. } = settled.outcome else {
            panic!("{:?}", settled.outcome)
        };
        assert_eq!((counted, code.as_str()), (true, "render_timeout"));
    }

    #[test]
    fn a_lease_that_is_too_short_before_rendering_is_given_back_uncounted() {
        let (lease, parts) = leased("{}", "", Duration::from_secs(59));
        let settled = hurried().settle(Job { lease, parts, destination: None });
        assert!(matches!(settled.outcome, Outcome::Released { .. }), "{:?}", settled.outcome);
    }

    #[test]
    fn a_lease_must_last_for_the_delivery_its_overtime_and_the_commit() {
        let delivery = Delivery::new(&Config::default(), Transports::new());
        let inbox = crate::transport::inbox::Inbox;
        assert_eq!(delivery.time_needed(&inbox), Duration::from_secs(60 + 5));
        assert_eq!(delivery.time_needed(&Patient), Duration::from_secs(60 + 58 + 1));
    }
}
