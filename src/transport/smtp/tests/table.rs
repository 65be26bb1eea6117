//! What a relay replies, phase by phase, and what becomes of the message: whole deliveries.

use super::*;
use crate::config::{OnAuthFailure, Secret};

/// Reply, verdict and code.
type Row = (&'static str, &'static str, &'static str);

/// Delivers to a relay that plays `script` and then answers `command` with each reply.
fn check(script: &[Line], command: &'static str, change: fn(&mut SmtpConfig), rows: &[Row]) {
    for (reply, verdict, code) in rows {
        let peer = Peer::play(&[script, &[(command, *reply)]].concat());
        let mut config = config(peer.port());
        change(&mut config);
        let failure = smtp(&config).deliver(&sample(), Deadline::after(LONG)).unwrap_err();
        let got = (kind(&failure), failure.code.as_str());
        assert_eq!(got, (*verdict, *code), "{command} {reply}: {failure}");
        if reply.starts_with("421") {
            assert!(!peer.heard()[0].contains(&"QUIT".to_owned()), "{command} {reply}");
        }
    }
}

fn as_is(_: &mut SmtpConfig) {}

fn with_starttls(config: &mut SmtpConfig) {
    config.tls = Some(SmtpTls::Required);
}

fn with_password(config: &mut SmtpConfig) {
    config.username = Some("ann".into());
    config.password = Some(Secret::new("open-sesame"));
}

#[test]
fn before_the_envelope_every_refusal_is_the_relay_s_and_costs_no_attempt() {
    check(
        &[],
        "",
        as_is,
        &[
            ("421 4.3.2 later", "blocked", "relay_unavailable"),
            ("450 later", "blocked", "relay_unavailable"),
            ("<close>", "blocked", "relay_unavailable"),
            ("554 5.7.1 go away", "blocked", "relay_blocked"),
            ("521 no mail here", "blocked", "relay_blocked"),
        ],
    );
    check(
        &PLAIN_RELAY[..1],
        "EHLO",
        as_is,
        &[
            ("421 4.3.2 later", "blocked", "relay_unavailable"),
            ("<close>", "blocked", "relay_unavailable"),
            ("501 your name is bad", "blocked", "relay_blocked"),
            ("504 your name is bad", "blocked", "relay_blocked"),
            ("550 your name is bad", "blocked", "relay_blocked"),
        ],
    );
    let offer = [PLAIN_RELAY[0], ("EHLO", "250-relay.example.com\r\n250 STARTTLS")];
    check(
        &offer,
        "STARTTLS",
        with_starttls,
        &[
            ("454 4.7.0 not now", "blocked", "relay_tls"),
            ("501 what", "blocked", "relay_tls"),
            ("<close>", "blocked", "relay_tls"),
        ],
    );
    check(&PLAIN_RELAY[..1], "EHLO", with_starttls, &[("250 relay", "blocked", "relay_tls")]);
    let offer = [PLAIN_RELAY[0], ("EHLO", "250-relay.example.com\r\n250 AUTH PLAIN")];
    check(
        &offer,
        "AUTH",
        with_password,
        &[
            ("535 5.7.8 wrong", "blocked", "relay_auth"),
            ("534 5.7.9 too weak", "blocked", "relay_auth"),
            ("538 5.7.11 in clear", "blocked", "relay_auth"),
            ("530 5.7.0 TLS first", "blocked", "relay_auth"),
            ("500 what", "blocked", "relay_auth"),
            ("504 5.5.4 what", "blocked", "relay_auth"),
            ("454 4.7.0 later", "blocked", "relay_unavailable"),
            ("432 4.7.12 change it", "blocked", "relay_unavailable"),
            ("421 4.3.2 later", "blocked", "relay_unavailable"),
        ],
    );
    let failing = |config: &mut SmtpConfig| {
        with_password(config);
        config.on_auth_failure = OnAuthFailure::Fail;
    };
    let rows = [
        ("535 5.7.8 wrong", "permanent", "relay_auth"),
        ("454 4.7.0 later", "blocked", "relay_unavailable"),
    ];
    check(&offer, "AUTH", failing, &rows);
}

#[test]
fn refusals_for_good_with_a_text_that_the_operator_names_are_for_now() {
    let named = |config: &mut SmtpConfig| {
        config.transient_replies = Some(vec!["Quota of the hour".into()]);
    };
    check(
        &PLAIN_RELAY[..3],
        "RCPT",
        named,
        &[
            ("550 5.1.1 quota OF the hour used up", "temporary", "550"),
            ("550 5.7.1 policy: quota of the hour", "temporary", "550"),
            ("550 5.7.1 policy", "permanent", "550"),
        ],
    );
}

#[test]
fn a_refused_sender_is_ours_to_mend_unless_it_is_the_message() {
    check(
        &PLAIN_RELAY[..2],
        "MAIL",
        as_is,
        &[
            ("421 4.3.2 later", "temporary", "421"),
            ("450 4.7.1 later", "temporary", "450"),
            ("451 local error", "temporary", "451"),
            ("452 4.3.1 disk full", "temporary", "452"),
            ("552 5.3.4 too large", "permanent", "552"),
            ("523 too large", "permanent", "523"),
            ("550 5.3.4 too large", "permanent", "550"),
            ("550 5.6.7 no such characters", "permanent", "550"),
            ("530 5.7.0 log in", "blocked", "relay_auth"),
            ("530 5.7.1 not yours", "blocked", "relay_auth"),
            ("550 5.7.1 not yours", "blocked", "relay_policy"),
            ("553 5.7.1 not yours", "blocked", "relay_policy"),
            ("553 5.1.7 bad sender", "blocked", "relay_policy"),
            ("550 5.1.8 no such domain", "blocked", "relay_policy"),
            ("25", "temporary", "protocol"),
        ],
    );
}

#[test]
fn a_refused_recipient_is_silenced_only_where_the_address_is_certainly_dead() {
    check(
        &PLAIN_RELAY[..3],
        "RCPT",
        as_is,
        &[
            ("421 4.3.2 later", "temporary", "421"),
            ("450 4.2.1 too fast", "temporary", "450"),
            ("451 4.7.1 greylisted", "temporary", "451"),
            ("452 4.5.3 too many", "temporary", "452"),
            ("452 4.2.2 mailbox full", "temporary", "452"),
            ("450 5.1.1 the first digit decides", "temporary", "450"),
            ("451 on our suppression list", "temporary", "451"),
            ("450 user unknown", "temporary", "450"),
            ("552 too many recipients", "temporary", "552"),
            ("550 5.5.3 too many recipients", "temporary", "550"),
            ("550 5.1.1 no such user", "bad address", "550"),
            ("550 5.1.2 no such domain", "bad address", "550"),
            ("553 5.1.3 bad syntax", "bad address", "553"),
            ("551 5.1.6 has moved", "bad address", "551"),
            ("556 5.1.10 null MX", "bad address", "556"),
            ("550 5.2.1 disabled", "bad address", "550"),
            ("556 takes no mail", "bad address", "556"),
            ("521 takes no mail", "bad address", "521"),
            ("550 5.2.2 mailbox full", "temporary", "550"),
            ("550 no such user", "permanent", "550"),
            ("550 5.6.7 no such characters", "permanent", "550"),
            ("550 5.7.1 policy", "permanent", "550"),
            ("550 5.7.23 SPF", "permanent", "550"),
            ("550 5.7.26 nobody vouches for you", "permanent", "550"),
            ("550 5.7.30 REQUIRETLS", "permanent", "550"),
            ("554 too many messages per minute", "temporary", "554"),
            ("550 caf\u{e9}", "permanent", "550"),
            ("what", "temporary", "protocol"),
        ],
    );
}

#[test]
fn the_message_is_refused_for_good_or_for_now_and_a_lost_answer_is_uncertain() {
    check(
        &PLAIN_RELAY[..4],
        "DATA",
        as_is,
        &[
            ("421 4.3.2 later", "temporary", "421"),
            ("451 4.3.0 later", "temporary", "451"),
            ("554 5.5.1 no valid recipients", "permanent", "554"),
            ("550 5.7.1 policy", "permanent", "550"),
            ("<close>", "temporary", "disconnected"),
        ],
    );
    check(
        &PLAIN_RELAY[..5],
        ".",
        as_is,
        &[
            ("421 4.3.2 later", "temporary", "421"),
            ("452 4.3.1 disk full", "temporary", "452"),
            ("450 4.7.1 later", "temporary", "450"),
            ("554 5.7.1 spam", "permanent", "554"),
            ("552 5.3.4 too large", "permanent", "552"),
            ("550 5.7.0 too many emails per second", "temporary", "550"),
            ("554 try again later", "temporary", "554"),
            ("<close>", "temporary", "uncertain"),
            ("<half-close>", "temporary", "uncertain"),
            ("what", "temporary", "uncertain"),
        ],
    );
}

#[test]
fn a_wait_that_the_relay_names_is_kept_between_a_minute_and_an_hour() {
    for (text, wait) in [
        ("451 4.7.1 greylisted, come back in 300 seconds", Some(300)),
        ("450 4.2.1 wait 5 s", Some(60)),
        ("451 4.7.1 try again in 90 minutes", Some(3600)),
        ("451 4.7.1 greylisted", None),
    ] {
        let peer = Peer::play(&up_to(&PLAIN_RELAY, "RCPT", text));
        let retry_after = wait.map(Duration::from_secs);
        assert_eq!(
            deliver(&peer).unwrap_err().verdict,
            Verdict::Temporary { retry_after },
            "{text}"
        );
    }
}
