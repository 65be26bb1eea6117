//! URL forms (RFC 3986), and what is shown of them.

use super::*;

fn check(text: &str, requested: &str) {
    let endpoint = Endpoint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(endpoint.uri.to_string(), requested);
}

#[test]
fn c49_url_forms_are_normalised() {
    check("http://[::1]:8080/x", "http://[::1]:8080/x");
    check("http://exämple.com/", "http://xn--exmple-cua.com/");
    check("http://127.0.0.1:8080/x?q=1#frag", "http://127.0.0.1:8080/x?q=1");
    check(" \thttp://127.0.0.1:8080/\n", "http://127.0.0.1:8080/");
    check("HTTP://EXAMPLE.com", "http://example.com/");
    check("https://example.com:443/é", "https://example.com/%C3%A9");
    check("https://example.com/a%20b%2Fc", "https://example.com/a%20b%2Fc");
}

#[test]
fn c25_every_spelling_of_an_address_becomes_the_address() {
    for text in ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127。0。0。1", "0x7f.0x0.0x0.0x1"]
    {
        check(&format!("http://{text}:8080/"), "http://127.0.0.1:8080/");
    }
}

#[test]
fn c49_what_is_no_web_url_is_refused_with_the_reason() {
    for (text, error) in [
        ("", BadEndpoint::Empty),
        ("  ", BadEndpoint::Empty),
        ("http://127.0.0.1:8080/a b", BadEndpoint::Blank),
        ("http://127.0.0.1:8080/a\r\nX-Evil: 1", BadEndpoint::Blank),
        ("http://127.0.0.1\\@example.com/", BadEndpoint::Blank),
        ("127.0.0.1:8080/x", BadEndpoint::Scheme),
        ("//h/x", BadEndpoint::Scheme),
        ("http:example.com", BadEndpoint::Scheme),
        ("ftp://h/", BadEndpoint::Scheme),
        ("javascript:alert(1)", BadEndpoint::Scheme),
        ("file:///etc/passwd", BadEndpoint::Scheme),
        ("http://", BadEndpoint::Syntax(url::ParseError::EmptyHost)),
        ("http://h:99999/", BadEndpoint::Syntax(url::ParseError::InvalidPort)),
        ("http://user:p%40w@127.0.0.1/x", BadEndpoint::Userinfo),
        ("http://user@127.0.0.1/", BadEndpoint::Userinfo),
    ] {
        assert_eq!(Endpoint::parse(text).map(|e| e.origin()), Err(error), "{text}");
    }
}

#[test]
fn a_url_that_is_longer_than_any_receiver_needs_is_refused() {
    let fits = format!("http://{}.example.com/", "a".repeat(63));
    check(&fits, &fits);
    for (text, error) in [
        (format!("http://example.com/{}", "a".repeat(2048)), BadEndpoint::Long),
        (format!("http://{}example.com/", "a.".repeat(130)), BadEndpoint::LongHost),
    ] {
        assert_eq!(Endpoint::parse(&text).map(|e| e.origin()), Err(error));
    }
}

#[test]
fn only_scheme_host_and_port_are_shown() {
    let endpoint = Endpoint::parse("https://hooks.example.com:8443/T0/marker?key=marker").unwrap();
    assert_eq!(endpoint.origin(), "https://hooks.example.com:8443");
    assert_eq!(Endpoint::parse("http://[::1]:80/x").unwrap().host(), "::1");
}

#[test]
fn c28_a_peer_that_repeats_the_url_does_not_get_it_into_our_records() {
    let endpoint = Endpoint::parse("https://example.com/a/s3cr3tT0ken?key=m4rk3r99&x=1").unwrap();
    let page = "Cannot POST /a/s3cr3tT0ken?key=m4rk3r99&amp;x=1";
    assert_eq!(endpoint.redact(page), "Cannot POST /a/...?key=...&amp;x=1");
}
