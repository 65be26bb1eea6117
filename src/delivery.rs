//! From lease to outcome: prepare, dispatch and decide. Where panics, policy and the lease meet.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{BrandingConfig, Config, WorkerConfig};
use crate::destination::{Destination, Destinations, Room, Shares};
use crate::lease::{Lease, Message, Settled};
use crate::library::Parts;
use crate::message::Prepared;
use crate::outcome::{Failure, Outcome, Receipt};
use crate::prepare::prepare;
use crate::retry::{Attempted, RetryPolicy};
use crate::telemetry;
use crate::transport::{Deadline, Transport, Transports};

/// Longest that the commit of an outcome is expected to take. A delivery that would leave less
/// of its lease is not begun.
const COMMIT_MARGIN_MAX: Duration = Duration::from_secs(5);

/// How long a message waits whose lease has become too short to begin: for a worker that has a
/// thread for it.
const TOO_LATE_PAUSE: Duration = Duration::from_millis(100);

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
    branding: BrandingConfig,
}

impl Delivery {
    pub(crate) fn new(config: &Config, transports: Transports) -> Self {
        let policies =
            transports.keys().map(|it| (it.clone(), RetryPolicy::for_method(config, it))).collect();
        let WorkerConfig { threads, threads_per_endpoint, dispatch_timeout, lease_period, .. } =
            config.worker;
        let shares = Shares::new(threads, threads_per_endpoint);
        let (room, branding) = (shares.room(), config.branding.clone());
        Self { transports, policies, shares, room, dispatch_timeout, lease_period, branding }
    }

    /// Why a lease ends without a delivery, if it does: attempts used up by leases that ran out,
    /// time over, not wanted any more, an address that is dead, or nobody here who could carry it.
    pub(crate) fn refusal(&self, lease: &Lease) -> Option<Outcome> {
        let message = lease.message();
        if message.disabled {
            return Some(Outcome::Inhibited);
        }
        if message.expires_in.is_some_and(|left| left.is_zero()) {
            let reason = "expired before an attempt".to_owned();
            return Some(Outcome::Expired { counted: false, reason });
        }
        if message.suppressed {
            return Some(Outcome::Failed {
                counted: false,
                code: "suppressed".into(),
                reason: "a relay refused this address for good; if it is right now, see \
                         `postrider suppression list` and `suppression remove ADDRESS`"
                    .into(),
            });
        }
        let Some(policy) = self.policies.get(&message.method) else {
            let known: Vec<&str> = self.transports.keys().map(String::as_str).collect();
            return Some(Outcome::Failed {
                counted: true,
                code: "unknown_method".into(),
                reason: format!(
                    "no transport for method `{}`; this worker has {}",
                    message.method,
                    known.join(", ")
                ),
            });
        };
        let max = message.max_attempts.unwrap_or(policy.attempts_max());
        if max < message.attempt {
            return Some(Outcome::Failed {
                counted: false,
                code: "lease_expired".into(),
                reason: format!(
                    "lease expired before the outcome of the last of {max} attempts was recorded"
                ),
            });
        }
        None
    }

    /// Whether a delivery to the inbox is its receipt and nothing else.
    pub(crate) fn has_local_inbox(&self) -> bool {
        self.transports.get("inbox").is_some_and(|transport| transport.is_local())
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
        let Job { lease, parts, destination } = job;
        // First of all, so that a message that is put off has cost next to nothing.
        let visit = match destination.as_deref().map(Destination::enter).transpose() {
            Ok(visit) => visit,
            Err(delay) => return lease.settle(Instant::now(), Outcome::Released { delay }),
        };
        // Without a destination it is never put off, but it counts while it takes long.
        let _held = visit.is_none().then(|| self.room.hold());
        let started = Instant::now();
        let transport = self.transports[&lease.message().method].as_ref();
        let prepared = match prepare(&lease, parts, &self.branding) {
            Ok(prepared) => prepared,
            Err(failure) => return self.decide(lease, started, Err(failure)),
        };
        // Not earlier: the wait for a share of the threads, and rendering, may have taken a while.
        if !lease.outlasts(self.time_needed(transport)) {
            return lease.settle(started, Outcome::Released { delay: TOO_LATE_PAUSE });
        }
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
        let longest = self.dispatch_timeout + transport.overtime();
        let spare = self.lease_period.saturating_sub(longest);
        longest + COMMIT_MARGIN_MAX.min(spare / 2)
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

/// Calls a transport. A bug in it must cost one attempt, not the delivery thread.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| Failure::panicked("transport", payload.as_ref()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

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
        let message = Message {
            notification_id: Uuid::from_u128(1),
            template_id: Uuid::from_u128(2),
            template_version: Some(1),
            method: "far".into(),
            attempt: 1,
            max_attempts: None,
            disabled: false,
            suppressed: false,
            expires_in: None,
            endpoint: None,
            endpoint_version: None,
            targets: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
            payload: RawValue::from_string("{}".into()).unwrap(),
        };
        let key = LeaseKey { id: MessageId(Uuid::from_u128(3)), claim: 1 };
        let lease = Lease::new(key, Instant::now() + Duration::from_mins(2), message);
        let template = Arc::new(Template::compile(&TemplateSource::default()).unwrap());
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

    #[test]
    fn a_lease_must_last_for_the_delivery_its_overtime_and_the_commit() {
        let delivery = Delivery::new(&Config::default(), Transports::new());
        let inbox = crate::transport::inbox::Inbox;
        assert_eq!(delivery.time_needed(&inbox), Duration::from_secs(60 + 5));
        assert_eq!(delivery.time_needed(&Patient), Duration::from_secs(60 + 58 + 1));
    }
}
