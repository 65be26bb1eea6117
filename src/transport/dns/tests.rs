//! Sharing, limits and the end of look-ups.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crossbeam_channel::{Sender, bounded};

use super::*;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(50))
}

fn long() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

const FOUND: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8))];

/// A resolver that hangs on names that begin with an `h`, until `release` is disconnected.
fn hanging() -> (Dns, Sender<Infallible>, Arc<AtomicUsize>) {
    let (release, hold) = bounded::<Infallible>(0);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let dns = Dns::new(move |name: &str| {
        counter.fetch_add(1, SeqCst);
        if name.starts_with('h') {
            let _ = hold.recv();
        }
        Ok(FOUND.to_vec())
    });
    (dns, release, asked)
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
            (0..20).map(|_| scope.spawn(|| dns.addresses("h.example.com", long()))).collect();
        drop(release);
        for thread in waiting {
            assert!(thread.join().unwrap().is_ok());
        }
    });
    assert!(dns.addresses("h.example.com", soon()).is_ok());
    assert_eq!(asked.load(SeqCst), 1);
}

#[test]
fn names_that_hang_cost_the_limit_and_hold_up_no_others() {
    let (dns, release, _) = hanging();
    for index in 0..40 {
        let start = Instant::now();
        let answer = dns.addresses(&format!("h{index}.example.com"), soon());
        assert_eq!(answer, Err(LookupError::TimedOut));
        assert!(start.elapsed() < Duration::from_millis(300));
    }
    let start = Instant::now();
    assert_eq!(*dns.addresses("one.example.com", long()).unwrap(), FOUND);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(release);
    assert!(dns.addresses("h15.example.com", long()).is_ok());
}

#[test]
fn names_that_hang_are_bounded_in_number_and_what_is_known_needs_none() {
    let (dns, release, _) = hanging();
    dns.addresses("one.example.com", long()).unwrap();
    let passed = Deadline::after(Duration::ZERO);
    let hang = |index| dns.addresses(&format!("h{index}"), passed);
    let faults: Vec<_> = (0..LOOKUPS_MAX + 10).map(|index| hang(index).unwrap_err()).collect();
    assert_eq!(faults[LOOKUPS_MAX - 1], LookupError::TimedOut);
    assert!(faults[LOOKUPS_MAX..].iter().all(|fault| *fault == LookupError::Busy));
    assert_eq!(dns.table.names().running, LOOKUPS_MAX);
    assert!(dns.addresses("one.example.com", soon()).is_ok());
    assert!(dns.addresses("127.0.0.1", soon()).is_ok());
    drop(release);
    assert!(dns.addresses("two.example.com", long()).is_ok());
}

#[test]
fn a_name_that_hangs_for_long_is_not_waited_for_again() {
    let (dns, release, _) = hanging();
    assert_eq!(dns.addresses("h.example.com", soon()), Err(LookupError::TimedOut));
    dns.age(LIMIT);
    let start = Instant::now();
    assert_eq!(dns.addresses("h.example.com", long()), Err(LookupError::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(release);
}

#[test]
fn old_addresses_are_used_while_the_resolver_hangs_but_not_for_ever() {
    let (release, hold) = bounded::<Infallible>(0);
    let known = AtomicUsize::new(0);
    let dns = Dns::new(move |_: &str| {
        if 0 < known.fetch_add(1, SeqCst) {
            let _ = hold.recv();
        }
        Ok(FOUND.to_vec())
    });
    dns.addresses("one.example.com", long()).unwrap();
    dns.age(FRESH);
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(*dns.addresses("one.example.com", long()).unwrap(), FOUND);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    dns.age(OLD_MAX);
    assert_eq!(dns.addresses("one.example.com", soon()), Err(LookupError::TimedOut));
    drop(release);
}

#[test]
fn a_failure_that_comes_late_does_not_drop_what_is_known_and_one_that_comes_at_once_does() {
    let mut entry = Entry::default();
    entry.take(Ok(FOUND.into()));
    let failure = || Err(LookupError::NotFound("no such host".into()));
    entry.asked = Instant::now().checked_sub(NO_ANSWER);
    entry.take(failure());
    assert!(entry.old().is_some());
    entry.asked = Some(Instant::now());
    entry.take(failure());
    assert!(entry.old().is_none());
}

#[test]
fn the_address_that_worked_comes_first_also_after_the_next_look_up() {
    let [first, second] = [[8, 8, 8, 8], [9, 9, 9, 9]].map(IpAddr::from);
    let dns = Dns::new(move |_: &str| Ok(vec![first, second]));
    let ask = || dns.addresses("two.example.com", long()).unwrap().to_vec();
    assert_eq!(ask(), [first, second]);
    dns.worked("two.example.com", second);
    assert_eq!(ask(), [second, first]);
    dns.age(OLD_MAX);
    assert_eq!(ask(), [second, first]);
}

#[test]
fn a_failure_is_told_and_soon_asked_again() {
    let asked = AtomicUsize::new(0);
    let dns = Dns::new(move |_: &str| match asked.fetch_add(1, SeqCst) {
        0 => Err(io::Error::other("no such host")),
        1 => Ok(Vec::new()),
        _ => Ok(vec![IpAddr::from([8, 8, 8, 8])]),
    });
    let told = |text: &str| Err(LookupError::NotFound(text.into()));
    assert_eq!(dns.addresses("x.example.com", long()), told("no such host"));
    assert_eq!(dns.addresses("x.example.com", long()), told("no such host"));
    dns.age(FRESH);
    assert_eq!(dns.addresses("x.example.com", long()), told("no address"));
    dns.age(FRESH);
    assert!(dns.addresses("x.example.com", long()).is_ok());
}

#[test]
fn the_table_of_names_is_bounded() {
    let dns = Dns::new(|_: &str| Ok(FOUND.to_vec()));
    for index in 0..NAMES_MAX + 10 {
        dns.addresses(&format!("h{index}"), long()).unwrap();
    }
    assert!(dns.table.names().entries.len() <= NAMES_MAX);
}

#[test]
fn a_hung_look_up_does_not_hold_up_the_end() {
    let (dns, release, asked) = hanging();
    assert_eq!(dns.addresses("hung.example.com", soon()), Err(LookupError::TimedOut));
    assert_eq!(asked.load(SeqCst), 1);
    let start = Instant::now();
    drop(dns);
    assert!(start.elapsed() < END_LIMIT + Duration::from_millis(500));
    drop(release);
}
