//! Statuses, `Retry-After` and `webhook-delivery`, row by row: whole deliveries.

use postrider::endpoint::EndpointSettings;

use super::*;
use crate::webhook::peer::Peer;

/// Delivers to a receiver that answers with this status line and these headers.
fn answered(status: u16, headers: &str, fail_fast_4xx: bool) -> Result<Receipt, Failure> {
    let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\n\r\n");
    let peer = Peer::answering(answer);
    let settings =
        EndpointSettings { fail_fast_4xx, ..EndpointSettings::new("ops", peer.url("/")) };
    let endpoint_settings = Some(Arc::new(settings));
    let message = Prepared { endpoint_settings, ..message(peer.url("/")) };
    deliver_message(&webhook(), &message, Duration::from_secs(10))
}

#[test]
fn c44_each_status_ends_as_the_table_says_with_and_without_fail_fast() {
    let always = [408, 421, 425, 429, 301, 302, 303, 307, 308, 500, 502, 503, 504, 507, 511, 599];
    let unless_fast = [400, 401, 403, 404, 405, 406, 409, 411, 413, 414, 415, 422, 451, 501, 505];
    for fast in [false, true] {
        for status in [200, 201, 202, 204, 205, 226] {
            assert_eq!(answered(status, "", fast).unwrap().code, Some(status.to_string()));
        }
        for status in always {
            assert_eq!(answered(status, "", fast).unwrap_err().verdict, RETRY, "{status}");
        }
        for status in unless_fast {
            let verdict = if fast { Verdict::Permanent } else { RETRY };
            assert_eq!(answered(status, "", fast).unwrap_err().verdict, verdict, "{status}");
        }
        assert_eq!(answered(410, "", fast).unwrap_err().verdict, Verdict::Permanent);
    }
}

#[test]
fn c43_retry_after_is_honoured_in_all_its_forms_and_nonsense_is_ignored() {
    let date = "date: Tue, 15 Nov 2033 12:00:00 GMT\r\n";
    for (value, wait) in [
        ("120", Some(120)),
        ("0", Some(0)),
        (" 7 ", Some(7)),
        ("86400", Some(86_400)),
        ("86401", Some(86_400)),
        ("99999999999999999999999999", Some(86_400)),
        ("Tue, 15 Nov 2033 12:02:00 GMT", Some(120)),
        ("Tuesday, 15-Nov-33 12:02:00 GMT", Some(120)),
        ("Tue Nov 15 12:02:00 2033", Some(120)),
        ("Tue, 15 Nov 2033 11:00:00 GMT", Some(0)),
        ("Wed, 15 Nov 2034 12:00:00 GMT", Some(86_400)),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("", None),
        ("Tue, 99 Nov 2033 12:02:00 GMT", None),
        ("Tue, 15 Nov 2033 12:02:00 +0100", None),
    ] {
        let retry_after = wait.map(Duration::from_secs);
        for status in [429, 503, 413, 301, 307, 404, 500] {
            let headers = format!("{date}retry-after: {value}\r\n");
            let failure = answered(status, &headers, false).unwrap_err();
            assert_eq!(failure.verdict, Verdict::Temporary { retry_after }, "{status} {value:?}");
        }
    }
    let past = "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let retry_after = Some(Duration::ZERO);
    let failure = answered(503, past, false).unwrap_err();
    assert_eq!(failure.verdict, Verdict::Temporary { retry_after }, "by our own clock");
    let gone = answered(410, "retry-after: 60\r\n", false).unwrap_err();
    assert_eq!(gone.verdict, Verdict::Permanent, "an end is an end");
}

#[test]
fn the_receiver_ends_a_message_or_the_endpoint_by_a_header_on_any_status_but_success() {
    for (directive, code) in [("abort-message", "http_503"), ("disable", "endpoint_disable")] {
        let headers = format!("Webhook-Delivery: {directive}\r\n");
        let failure = answered(503, &headers, false).unwrap_err();
        assert_eq!((&*failure.code, &failure.verdict), (code, &Verdict::Permanent));
        answered(200, &headers, false).unwrap();
    }
    let failure = answered(503, "webhook-delivery: later\r\n", false).unwrap_err();
    assert_eq!(failure.verdict, RETRY);
}
