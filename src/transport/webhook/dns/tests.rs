//! Sharing, limits and the end of the resolver threads.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(50))
}

fn long() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// A resolver that answers once `release` is disconnected.
fn hanging() -> (Dns, Sender<Infallible>, Arc<AtomicUsize>) {
    let (release, hold) = bounded::<Infallible>(0);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let dns = Dns::start(move |_: &str| {
        counter.fetch_add(1, SeqCst);
        let _ = hold.recv();
        Ok(vec![IpAddr::from([8, 8, 8, 8])])
    });
    (dns.unwrap(), release, asked)
}

#[test]
fn an_address_needs_no_look_up() {
    let (dns, release, asked) = hanging();
    for host in ["127.0.0.1", "::1"] {
        assert_eq!(*dns.addresses(host, soon()).unwrap(), [host.parse::<IpAddr>().unwrap()]);
    }
    assert_eq!(asked.load(SeqCst), 0);
    drop(release);
}

#[test]
fn threads_that_ask_for_one_name_share_one_look_up() {
    let (dns, release, asked) = hanging();
    thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..20).map(|_| scope.spawn(|| dns.addresses("one.example.com", long()))).collect();
        drop(release);
        for thread in waiting {
            assert!(thread.join().unwrap().is_ok());
        }
    });
    assert!(dns.addresses("one.example.com", soon()).is_ok());
    assert_eq!(asked.load(SeqCst), 1);
}

#[test]
fn a_hung_resolver_costs_the_limit_and_no_thread_more() {
    let (dns, release, asked) = hanging();
    for index in 0..2 * THREADS {
        let start = Instant::now();
        let answer = dns.addresses(&format!("h{index}.example.com"), soon());
        assert_eq!(answer, Err(LookupError::TimedOut));
        assert!(start.elapsed() < Duration::from_millis(300));
    }
    assert!(asked.load(SeqCst) <= THREADS);
    drop(release);
    assert!(dns.addresses("h15.example.com", long()).is_ok());
}

#[test]
fn more_waiting_names_than_the_queue_holds_are_refused_at_once() {
    let (dns, release, _) = hanging();
    let passed = Deadline::after(Duration::ZERO);
    let busy = (0..=QUEUE_MAX + THREADS)
        .filter(|index| dns.addresses(&format!("h{index}"), passed) == Err(LookupError::Busy))
        .count();
    assert!((1..=THREADS + 1).contains(&busy), "{busy}");
    drop(release);
}

#[test]
fn a_failure_is_told_and_soon_asked_again() {
    let asked = AtomicUsize::new(0);
    let dns = Dns::start(move |_: &str| match asked.fetch_add(1, SeqCst) {
        0 => Err(io::Error::other("no such host")),
        1 => Ok(Vec::new()),
        _ => Ok(vec![IpAddr::from([8, 8, 8, 8])]),
    })
    .unwrap();
    let told = |text: &str| Err(LookupError::NotFound(text.into()));
    assert_eq!(dns.addresses("x.example.com", long()), told("no such host"));
    assert_eq!(dns.addresses("x.example.com", long()), told("no such host"));
    dns.forget();
    assert_eq!(dns.addresses("x.example.com", long()), told("no address"));
    dns.forget();
    assert!(dns.addresses("x.example.com", long()).is_ok());
}

#[test]
fn the_table_of_names_is_bounded() {
    let dns = Dns::start(|_: &str| Ok(vec![IpAddr::from([8, 8, 8, 8])])).unwrap();
    for index in 0..NAMES_MAX + 10 {
        dns.addresses(&format!("h{index}"), long()).unwrap();
    }
    assert!(dns.table.lock().len() <= NAMES_MAX);
}

#[test]
fn a_hung_look_up_does_not_hold_up_the_end() {
    let (dns, release, asked) = hanging();
    assert_eq!(dns.addresses("hung.example.com", soon()), Err(LookupError::TimedOut));
    assert_eq!(asked.load(SeqCst), 1);
    let start = Instant::now();
    drop(dns);
    assert!(start.elapsed() < JOIN_LIMIT + Duration::from_millis(500));
    drop(release);
}
