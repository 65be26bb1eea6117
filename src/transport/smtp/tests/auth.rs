//! Authentication, mechanism by mechanism. Loopback needs no TLS for it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::{Secret, SmtpAuth};

const PASSWORD: &str = "open-sesame";

fn with_credentials(port: u16) -> SmtpConfig {
    let password = Some(Secret::new(PASSWORD));
    SmtpConfig { username: Some("ann".into()), password, ..config(port) }
}

/// A relay with the offer `ehlo` and the dialogue `auth`, then one mail.
fn relay(ehlo: &'static str, auth: &[Line]) -> Vec<Line> {
    [&[PLAIN_RELAY[0], ("EHLO", ehlo)], auth, &PLAIN_RELAY[2..]].concat()
}

fn try_with(script: &[Line]) -> (Result<Receipt, Failure>, Vec<String>) {
    let peer = Peer::play(script);
    let result = smtp(&with_credentials(peer.port())).deliver(&sample(), Deadline::after(LONG));
    (result, peer.heard().remove(0))
}

#[test]
fn c07_without_credentials_no_mechanism_is_used() {
    let peer = Peer::play(&relay("250-relay\r\n250 AUTH NTLM", &[]));
    deliver(&peer).unwrap();
}

#[test]
fn c07_auth_mechanism_is_chosen_from_what_both_sides_know() {
    let login = [
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("YW5u", "334 UGFzc3dvcmQ6"),
        ("b3Blbi1zZXNhbWU=", "235 welcome"),
    ];
    let script = relay("250-relay\r\n250 AUTH GSSAPI NTLM LOGIN", &login);
    let (result, heard) = try_with(&script);
    result.unwrap();
    assert!(!heard.iter().any(|line| line.starts_with("AUTH PLAIN")), "{heard:?}");

    let plain = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0ann\0{PASSWORD}")));
    let offer = "250-relay\r\n250-AUTH CRAM-MD5 LOGIN PLAIN\r\n250 AUTH=LOGIN";
    let (result, heard) = try_with(&relay(offer, &[("AUTH PLAIN", "235 welcome")]));
    result.unwrap();
    assert_eq!(heard[1], plain);
}

#[test]
fn c07_credentials_that_cannot_be_used_stop_the_mail_and_tell_the_offer() {
    for (ehlo, told) in
        [("250 relay", "nothing"), ("250-relay\r\n250 AUTH NTLM GSSAPI", "GSSAPI NTLM")]
    {
        let (result, heard) = try_with(&relay(ehlo, &[])[..2]);
        let failure = result.unwrap_err();
        assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_auth"));
        assert!(failure.reason.contains(told), "{}", failure.reason);
        assert_eq!(heard, ["EHLO worker.example.com"]);
    }
}

#[test]
fn c07_a_mechanism_that_the_settings_name_is_the_only_one_that_is_used() {
    let offer = "250-relay\r\n250 AUTH LOGIN PLAIN XOAUTH2";
    let token = STANDARD.encode(format!("user=ann\x01auth=Bearer {PASSWORD}\x01\x01"));
    for (auth, command) in [
        (SmtpAuth::Plain, "AUTH PLAIN AGFubgBvcGVuLXNlc2FtZQ=="),
        (SmtpAuth::Xoauth2, &*format!("AUTH XOAUTH2 {token}")),
    ] {
        let peer = Peer::play(&relay(offer, &[("AUTH", "235 welcome")]));
        let config = SmtpConfig { auth, ..with_credentials(peer.port()) };
        smtp(&config).deliver(&sample(), Deadline::after(LONG)).unwrap();
        assert_eq!(peer.heard()[0][1], command);
    }
    let peer = Peer::play(&relay("250-relay\r\n250 AUTH PLAIN XOAUTH2", &[])[..2]);
    let config = SmtpConfig { auth: SmtpAuth::Login, ..with_credentials(peer.port()) };
    let failure = smtp(&config).deliver(&sample(), Deadline::after(LONG)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_auth"));
    assert!(failure.reason.contains("need LOGIN; the relay offers PLAIN XOAUTH2"), "{failure}");
}

#[test]
fn xoauth2_reads_its_error_and_tells_the_refusal() {
    let refused = [("AUTH XOAUTH2 ", "334 eyJzdGF0dXMiOiI0MDAifQ=="), ("", "535 5.7.8 bad token")];
    let script = relay("250-relay\r\n250 AUTH XOAUTH2", &refused);
    let (result, heard) = try_with(&script[..4]);
    assert_eq!(heard[2], "");
    let failure = result.unwrap_err();
    assert_eq!(failure.code, "relay_auth");
    assert!(failure.reason.contains("535 5.7.8 bad token"), "{}", failure.reason);
}

#[test]
fn c04_refused_credentials_keep_their_code_and_hide_themselves() {
    let reply = "535 Error: \u{c7}\u{eb} AGFubgBvcGVuLXNlc2FtZQ== open-sesame";
    let (result, heard) = try_with(&relay("250-relay\r\n250 AUTH PLAIN", &[("AUTH", reply)])[..3]);
    let failure = result.unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_auth"));
    assert!(failure.reason.contains("535 Error"), "{}", failure.reason);
    assert!(failure.reason.contains("offered: PLAIN"), "{}", failure.reason);
    for secret in [PASSWORD, "AGFubgBvcGVuLXNlc2FtZQ=="] {
        assert!(!failure.reason.contains(secret), "{}", failure.reason);
    }
    assert!(!heard.iter().any(|line| line.starts_with("MAIL")));
}
