//! What is remembered of far ends, and what a delivery tells of them.

use std::convert::Infallible;

use super::*;

/// A message to an endpoint.
fn message(endpoint: &str) -> Message {
    Message { endpoint: Some(endpoint.into()), ..Message::sample("webhook") }
}

fn known(shares: Shares) -> Destinations {
    Destinations::new(shares, shares.room())
}

fn destinations() -> Destinations {
    known(Shares::new(64, None))
}

/// Where a message to `endpoint` goes, on the one host that there is.
fn visit_to(known: &mut Destinations, endpoint: &str) -> Arc<Destination> {
    let host = || Ok::<_, Infallible>(Some("http://example.com".to_owned()));
    known.of(&message(endpoint), host).unwrap().expect("it has a host")
}

/// Meets so many endpoints, one after the other.
fn meet(known: &mut Destinations, count: usize) {
    for n in 0..count {
        visit_to(known, &format!("http://example.com/{n}"));
    }
}

#[test]
fn one_endpoint_leaves_threads_to_its_host_and_one_host_to_the_others() {
    let most = |threads, share| {
        let Shares { endpoint, host, .. } = Shares::new(threads, share);
        (endpoint, host)
    };
    assert_eq!(most(64, None), (Some(48), Some(56)));
    assert_eq!(most(64, Some(16)), (Some(16), Some(40)));
    assert_eq!(most(64, Some(64)), (None, None));
    assert_eq!(most(2, Some(1)), (Some(1), Some(1)));
    assert_eq!(most(8, None), (None, None), "there is too little to share");
}

#[test]
fn slow_deliveries_have_no_limit_where_one_endpoint_may_take_all_threads() {
    assert!(Shares::new(64, Some(64)).slow.is_none() && Shares::new(1, Some(1)).slow.is_none());
    let limited = [(64, None), (64, Some(63)), (1, None)];
    assert!(limited.iter().all(|(threads, share)| Shares::new(*threads, *share).slow.is_some()));
}

#[test]
fn an_endpoint_is_known_by_all_that_a_message_names() {
    let mut known = destinations();
    let first = visit_to(&mut known, "http://example.com/a");
    assert!(Arc::ptr_eq(&first, &visit_to(&mut known, "http://example.com/a")));
    for other in ["http://example.com/b", "http://example.com/a?x=1", "http://example.com/a?x=2"] {
        let other = visit_to(&mut known, other);
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(Arc::ptr_eq(&first.host, &other.host), "they share their host");
    }
    let asked = || panic!("its host is known");
    known.of::<Infallible>(&message("http://example.com/a"), asked).unwrap();
    let edited = Message { endpoint_version: Some(2), ..message("http://example.com/a") };
    let host = || Ok::<_, Infallible>(Some("http://example.com".to_owned()));
    assert!(!Arc::ptr_eq(&first, &known.of(&edited, host).unwrap().unwrap()));
}

#[test]
fn what_goes_nowhere_is_not_remembered() {
    let mut known = destinations();
    assert!(known.of(&message("x"), || Ok::<_, Infallible>(None)).unwrap().is_none());
    assert!(known.of(&message("x"), || Err("lost")).is_err());
    assert!(known.endpoints.is_empty() && known.hosts.is_empty());
}

#[test]
fn idle_endpoints_are_forgotten_but_not_one_with_a_delivery_or_an_open_breaker() {
    let mut known = destinations();
    let busy = visit_to(&mut known, "http://example.com/busy");
    let visit = busy.enter().unwrap();
    let held = visit_to(&mut known, "http://example.com/down");
    let pause = Duration::from_mins(1);
    let asks = Failure::temporary("http_429", "wait").telling(Health::Asks { pause });
    held.enter().unwrap().end(Some(&asks));
    let down = Arc::downgrade(&held);
    drop(held);
    meet(&mut known, KNOWN_MAX);
    assert!(known.endpoints.len() < KNOWN_MAX, "{}", known.endpoints.len());
    assert!(Arc::ptr_eq(&busy, &visit_to(&mut known, "http://example.com/busy")));
    let again = visit_to(&mut known, "http://example.com/down");
    assert!(down.upgrade().is_some_and(|down| Arc::ptr_eq(&down, &again)));
    assert!(again.wait().is_some(), "and still asks for a pause");
    assert!(Arc::ptr_eq(&busy.host, &again.host));
    drop(visit);
}

#[test]
fn a_host_without_endpoints_is_forgotten() {
    let mut known = destinations();
    let host = |n| move || Ok::<_, Infallible>(Some(format!("http://{n}.example.com")));
    for n in 0..=KNOWN_MAX {
        known.of(&message(&format!("http://{n}.example.com/")), host(n)).unwrap();
    }
    assert_eq!((known.endpoints.len(), known.hosts.len()), (1, 1));
}

#[test]
fn endpoints_that_cannot_be_forgotten_are_not_gone_through_for_each_new_one() {
    let mut known = destinations();
    let held: Vec<_> = (0..=KNOWN_MAX).map(|n| visit_to(&mut known, &n.to_string())).collect();
    assert_eq!((known.endpoints.len(), known.known_max), (KNOWN_MAX + 1, 2 * KNOWN_MAX));
    drop(held);
    meet(&mut known, KNOWN_MAX);
    assert_eq!(known.known_max, KNOWN_MAX, "and the room is given back");
}

#[test]
fn paused_endpoints_do_not_take_memory_without_end() {
    let mut known = destinations();
    let busy = visit_to(&mut known, "http://example.com/busy");
    let visit = busy.enter().unwrap();
    for n in 0..=KNOWN_LIMIT {
        let paused = visit_to(&mut known, &format!("http://example.com/{n}"));
        paused.breaker().asked_to_wait(Duration::from_hours(1), Instant::now());
    }
    assert!(known.endpoints.len() < KNOWN_LIMIT, "{}", known.endpoints.len());
    assert!(Arc::ptr_eq(&busy, &visit_to(&mut known, "http://example.com/busy")));
    drop(visit);
}

#[test]
fn what_is_kept_of_a_host_does_not_grow_with_its_name() {
    let mut known = destinations();
    let long = "é".repeat(4 << 20);
    let host = || Ok::<_, Infallible>(Some(long.clone()));
    let destination = known.of(&message(&long), host).unwrap().unwrap();
    assert_eq!(destination.host.name.capacity().max(NAME_MAX), NAME_MAX);
}

/// Whether an endpoint is well after a try that came to `failure`, when it had been paused.
fn is_well_after(failure: &Failure) -> bool {
    let mut known = destinations();
    let destination = visit_to(&mut known, "http://example.com/");
    let pause = Duration::from_millis(1);
    let asks = Failure::temporary("http_429", "wait").telling(Health::Asks { pause });
    destination.enter().unwrap().end(Some(&asks));
    let end = Instant::now() + Duration::from_secs(20);
    let probe = loop {
        assert!(Instant::now() < end, "nobody may ever try");
        if let Ok(visit) = destination.enter() {
            break visit;
        }
    };
    assert_eq!(probe.role, Role::Probe);
    probe.end(Some(failure));
    destination.wait().is_none()
}

#[test]
fn an_endpoint_that_is_well_again_is_not_held_to_how_long_its_failures_took() {
    let mut known = known(Shares::new(2, Some(1)));
    let destination = visit_to(&mut known, "http://example.com/");
    let gates = [&destination.gate, &destination.host.gate];
    let long_ago = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
    for gate in gates {
        gate.enter(long_ago).unwrap().delivers();
    }
    destination.breaker().asked_to_wait(Duration::ZERO, Instant::now());
    destination.enter().unwrap().end(None);
    for gate in gates {
        let now = Instant::now();
        let _inside = gate.enter(now).unwrap();
        let turns = [gate.enter(now).unwrap_err(), gate.enter(now).unwrap_err()];
        assert!(turns[1] < turns[0] + Duration::from_mins(1), "{turns:?}");
    }
}

#[test]
fn a_host_that_answers_others_meanwhile_is_held_to_how_long_that_takes() {
    let mut known = known(Shares::new(2, Some(1)));
    let paused = visit_to(&mut known, "http://example.com/paused");
    let slow = visit_to(&mut known, "http://example.com/slow");
    let long_ago = Instant::now().checked_sub(Duration::from_hours(1)).unwrap();
    slow.host.gate.enter(long_ago).unwrap().delivers();
    paused.breaker().asked_to_wait(Duration::ZERO, Instant::now());
    slow.enter().unwrap().end(None);
    paused.enter().unwrap().end(None);
    let now = Instant::now();
    let _inside = slow.host.gate.enter(now).unwrap();
    let turns = [slow.host.gate.enter(now).unwrap_err(), slow.host.gate.enter(now).unwrap_err()];
    assert!(turns[0] + Duration::from_mins(1) < turns[1], "{turns:?}");
}

#[test]
fn only_an_answer_of_the_far_end_closes_its_breaker() {
    assert!(is_well_after(&Failure::permanent("http_400", "refused").answered()));
    assert!(!is_well_after(&Failure::temporary("connect", "refused").of_destination()));
    let before_contact = [
        Failure::permanent("bad_endpoint", "its template"),
        Failure::permanent("blocked_address", "private"),
        Failure::temporary("panic", "transport panicked"),
        Failure::blocked("clock", "off"),
    ];
    for failure in before_contact {
        assert!(!is_well_after(&failure), "{failure}");
    }
}
