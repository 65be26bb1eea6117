//! Every status, and what is made of headers and body.

use std::time::Duration;

use super::*;
use crate::endpoint::EndpointSettings;
use crate::outcome::{Health, REASON_MAX, Verdict};
use crate::vault::Vault;

const RETRY: Verdict = Verdict::Temporary { retry_after: None };

fn endpoint() -> Endpoint {
    Endpoint::parse("https://hooks.example.com/T0/m4rk3rt0ken").unwrap()
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> Failure {
    answer_of(&Target::plain(endpoint(), None), status, headers, body)
}

fn answer_of(
    target: &Target,
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: &[u8],
) -> Failure {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    refusal(target, status, &map, body, SystemTime::UNIX_EPOCH)
}

#[test]
fn c44_every_status_is_in_the_class_that_the_table_says() {
    for status in 100..=999 {
        let expected = match status {
            200..=299 => Class::Sent,
            410 => Class::Permanent,
            _ => Class::Temporary,
        };
        assert_eq!(class(status, false), expected, "{status}");
        if expected == Class::Sent {
            continue;
        }
        let failure = answer(status, &[], b"");
        let permanent = failure.verdict == Verdict::Permanent;
        assert_eq!(permanent, expected == Class::Permanent, "{status}");
        assert!(failure.reason.contains(&format!("HTTP {status}")), "{}", failure.reason);
        let code = if status / 100 == 3 { "redirect_not_followed" } else { "http_" };
        assert!(failure.code.starts_with(code), "{}", failure.code);
    }
}

#[test]
fn c43_the_reason_has_the_status_and_the_beginning_of_the_body() {
    let failure = answer(429, &[("retry-after", "7")], br#"{"error":"slow down"}"#);
    assert_eq!(failure.code, "http_429");
    assert_eq!(failure.reason, r#"HTTP 429 from https://hooks.example.com: {"error":"slow down"}"#);
    let wait = Verdict::Temporary { retry_after: Some(Duration::from_secs(7)) };
    assert_eq!(failure.verdict, wait);
    assert!(answer(400, &[], b"field x missing").reason.ends_with("field x missing"));
}

#[test]
fn retry_after_is_honoured_on_every_status_that_is_tried_again() {
    for status in [301, 400, 404, 413, 429, 500, 503, 999] {
        let failure = answer(status, &[("retry-after", "60")], b"");
        let wait = Verdict::Temporary { retry_after: Some(Duration::from_mins(1)) };
        assert_eq!(failure.verdict, wait, "{status}");
    }
    assert_eq!(answer(503, &[("retry-after", "-5")], b"").verdict, RETRY);
    assert_eq!(answer(410, &[("retry-after", "60")], b"").verdict, Verdict::Permanent);
    let date = [
        ("date", "Tue, 15 Nov 2033 12:00:00 GMT"),
        ("retry-after", "Tue, 15 Nov 2033 12:02:00 GMT"),
    ];
    let wait = Verdict::Temporary { retry_after: Some(Duration::from_mins(2)) };
    assert_eq!(answer(503, &date, b"").verdict, wait);
}

#[test]
fn the_receiver_can_end_a_message() {
    for directive in ["abort-message", "disable"] {
        let failure = answer(500, &[("webhook-delivery", directive)], b"");
        assert_eq!(failure.verdict, Verdict::Permanent, "{directive}");
    }
    assert_eq!(answer(500, &[("webhook-delivery", "ok")], b"").verdict, RETRY);
}

#[test]
fn c38_a_redirect_names_the_new_host_and_not_its_path() {
    let failure = answer(302, &[("location", "https://new.example.com/m4rk3rt0ken?a=1")], b"");
    assert_eq!(failure.code, "redirect_not_followed");
    assert_eq!(
        failure.reason,
        "HTTP 302 from https://hooks.example.com, a redirect to https://new.example.com; \
         redirects are not followed, correct the URL of the endpoint"
    );
    assert!(answer(307, &[("location", "/m4rk3rt0ken")], b"").reason.contains("another path"));
}

#[test]
fn c58_any_body_becomes_a_reason_that_can_be_stored() {
    let long = [b"a".repeat(499), "é".as_bytes().to_vec()].concat();
    for body in [
        b"a\x00b".as_slice(),
        b"\xff\xfeA",
        &long,
        &vec![b'x'; 65_536],
        "😱".repeat(500).as_bytes(),
    ] {
        let reason = answer(500, &[], body).reason;
        assert!(!reason.contains(char::is_control) && reason.len() <= REASON_MAX, "{reason}");
        assert!(reason.starts_with("HTTP 500"));
    }
}

#[test]
fn c28_a_body_that_repeats_the_url_does_not_give_it_away() {
    let reason = answer(404, &[], b"<pre>Cannot POST /T0/m4rk3rt0ken</pre>").reason;
    assert!(reason.contains("Cannot POST") && !reason.contains("m4rk3r"), "{reason}");
}

#[test]
fn an_endpoint_that_fails_fast_gives_up_on_what_no_retry_can_mend() {
    for status in [400, 401, 403, 404, 405, 406, 411, 413, 414, 415, 422, 451, 501, 505] {
        assert_eq!(class(status, true), Class::Permanent, "{status}");
    }
    for status in [301, 408, 421, 425, 429, 500, 502, 503, 504, 507, 599] {
        assert_eq!(class(status, true), Class::Temporary, "{status}");
    }
    assert_eq!(class(204, true), Class::Sent);
}

#[test]
fn each_answer_tells_how_the_endpoint_is() {
    let told =
        |status, wait: &'static str| answer(status, &[("retry-after", wait)], b"").destination;
    let pause = Duration::from_secs(7);
    for (status, wait, expected) in [
        (400, "7", Health::Answers),
        (410, "", Health::Answers),
        (429, "", Health::Answers),
        (429, "0", Health::Answers),
        (429, "7", Health::Asks { pause }),
        (500, "7", Health::Down),
        (503, "7", Health::Asks { pause }),
        (503, "0", Health::Down),
    ] {
        assert_eq!(told(status, wait), expected, "{status} {wait}");
    }
}

#[test]
fn a_url_pauses_for_five_minutes_at_most_and_a_named_endpoint_for_a_day() {
    let settings = EndpointSettings::new("ops", "https://hooks.example.com/T0/m4rk3rt0ken");
    let vault = Vault::new(None).unwrap();
    let named = Target::new(&settings, &vault, None).unwrap();
    let day = Duration::from_hours(24);
    for (target, pause) in [(Target::plain(endpoint(), None), Duration::from_mins(5)), (named, day)]
    {
        let failure = answer_of(&target, 429, &[("retry-after", "86400")], b"");
        assert_eq!(failure.destination, Health::Asks { pause });
        assert_eq!(failure.verdict, Verdict::Temporary { retry_after: Some(day) });
    }
}
