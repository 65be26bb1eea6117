//! The table of replies, phase by phase.

use super::*;
use crate::outcome::Verdict;

fn reply(text: &str) -> Cause {
    Cause::Reply(super::super::reply::read(&mut format!("{text}\r\n").as_bytes()).unwrap())
}

fn verdict(phase: Phase, cause: Cause) -> (&'static str, String) {
    let failure = classify(&cause.at(phase));
    let kind = match failure.verdict {
        Verdict::Temporary { .. } => "temporary",
        Verdict::Permanent => "permanent",
        Verdict::Blocked { .. } => "blocked",
        Verdict::BadAddress => "bad address",
        Verdict::Held => "held",
    };
    (kind, failure.code)
}

fn check(phase: Phase, text: &str, kind: &str, code: &str) {
    assert_eq!(verdict(phase, reply(text)), (kind, code.to_owned()), "{phase}: {text}");
}

#[test]
fn before_mail_from_a_refusal_costs_no_attempt() {
    check(Phase::Greeting, "554 5.7.1 go away", "blocked", "relay_blocked");
    check(Phase::Greeting, "521 no mail here", "blocked", "relay_blocked");
    check(Phase::Greeting, "421 4.7.0 later", "blocked", "relay_unavailable");
    check(Phase::Ehlo, "501 bad name", "blocked", "relay_blocked");
    check(Phase::Ehlo, "504 bad name", "blocked", "relay_blocked");
    check(Phase::Ehlo, "550 bad name", "blocked", "relay_blocked");
    check(Phase::StartTls, "454 4.7.0 no", "blocked", "relay_tls");
    check(Phase::StartTls, "501 no", "blocked", "relay_tls");
    check(Phase::Auth, "535 5.7.8 no", "blocked", "relay_auth");
    check(Phase::Auth, "534 5.7.9 no", "blocked", "relay_auth");
    check(Phase::Auth, "538 5.7.11 no", "blocked", "relay_auth");
    check(Phase::Auth, "530 5.7.0 no", "blocked", "relay_auth");
    check(Phase::Auth, "504 no", "blocked", "relay_auth");
    check(Phase::Auth, "454 4.7.0 later", "blocked", "relay_unavailable");
    check(Phase::Auth, "432 4.7.12 later", "blocked", "relay_unavailable");
    check(Phase::Auth, "421 later", "blocked", "relay_unavailable");
}

#[test]
fn refused_credentials_are_tried_again_after_a_quarter_of_an_hour() {
    let failure = classify(&reply("535 5.7.8 no").at(Phase::Auth));
    let wait = Some(Duration::from_mins(15));
    assert_eq!(failure.verdict, Verdict::Blocked { retry_after: wait });
}

#[test]
fn refused_credentials_and_a_refused_sender_pause_the_relay_and_no_other_reply_does() {
    let told = |phase: Phase, text| classify(&reply(text).at(phase)).destination;
    let asks = |minutes| Health::Asks { pause: Duration::from_mins(minutes) };
    for (phase, text, expected) in [
        (Phase::Auth, "535 5.7.8 no", asks(15)),
        (Phase::Mail, "530 5.7.0 authenticate first", asks(15)),
        (Phase::Mail, "550 5.7.1 not your address", asks(5)),
        (Phase::Mail, "450 4.7.1 too fast, come back in 5 minutes", Health::Answers),
        (Phase::Rcpt, "450 4.2.0 greylisted, come back in 5 minutes", Health::Answers),
        (Phase::Rcpt, "421 4.7.0 too many, try again in 20 minutes", Health::Down),
        (Phase::Auth, "454 4.7.0 later", Health::Down),
    ] {
        assert_eq!(told(phase, text), expected, "{phase}: {text}");
    }
}

#[test]
fn a_refused_sender_is_ours_to_mend() {
    check(Phase::Mail, "530 5.7.0 authenticate first", "blocked", "relay_auth");
    check(Phase::Mail, "550 5.7.1 not your address", "blocked", "relay_policy");
    check(Phase::Mail, "553 5.7.1 not your address", "blocked", "relay_policy");
    check(Phase::Mail, "550 5.1.7 bad sender", "blocked", "relay_policy");
    check(Phase::Mail, "550 5.1.8 bad sender", "blocked", "relay_policy");
    check(Phase::Mail, "501 syntax", "blocked", "relay_policy");
    check(Phase::Mail, "422 4.2.2 later", "temporary", "422");
    check(Phase::Mail, "421 4.3.2 closing", "temporary", "421");
    check(Phase::Mail, "503 sender already given", "temporary", "503");
}

#[test]
fn a_message_too_large_is_refused_for_good() {
    check(Phase::Mail, "552 5.3.4 too big", "permanent", "552");
    check(Phase::Mail, "552 too big", "permanent", "552");
    check(Phase::Mail, "523 too big", "permanent", "523");
    check(Phase::Dot, "552 5.3.4 too big", "permanent", "552");
    let too_large = Cause::TooLarge { size: 9, limit: 8 };
    assert_eq!(verdict(Phase::Mail, too_large), ("permanent", "too_large".into()));
}

#[test]
fn a_recipient_is_refused_for_good_or_for_now() {
    for code in ["421", "450 4.2.1", "451 4.7.1", "452 4.5.3", "499", "450 user unknown"] {
        check(Phase::Rcpt, &format!("{code} later"), "temporary", &code[..3]);
    }
    for code in ["550 5.1.1", "551 5.1.6", "553 5.1.3", "550 5.1.2", "556 5.1.10", "521 5.2.1"] {
        check(Phase::Rcpt, &format!("{code} no"), "bad address", &code[..3]);
        check(Phase::Dot, &format!("{code} no"), "permanent", &code[..3]);
    }
    check(Phase::Rcpt, "556 no mail here", "bad address", "556");
    check(Phase::Rcpt, "550 no such user", "permanent", "550");
    check(Phase::Rcpt, "550 5.7.1 policy", "permanent", "550");
    check(Phase::Rcpt, "550 5.7.26 unauthenticated", "permanent", "550");
    check(Phase::Rcpt, "552 too many recipients", "temporary", "552");
    check(Phase::Rcpt, "550 5.5.3 too many recipients", "temporary", "550");
    check(Phase::Rcpt, "550 5.2.2 mailbox full", "temporary", "550");
    assert_eq!(verdict(Phase::Mail, Cause::NoSmtpUtf8), ("permanent", "smtputf8".into()));
}

#[test]
fn a_rate_limit_is_temporary_whatever_its_code() {
    check(
        Phase::Dot,
        "550 5.7.0 Requested action not taken: too many emails per second",
        "temporary",
        "550",
    );
    check(Phase::Rcpt, "554 Sending rate exceeded, try again later", "temporary", "554");
    check(Phase::Rcpt, "550 5.1.1 no such user, try again", "bad address", "550");
}

#[test]
fn the_content_is_refused_for_good_or_for_now() {
    check(Phase::Data, "554 5.5.1 no valid recipients", "permanent", "554");
    check(Phase::Data, "451 later", "temporary", "451");
    check(Phase::Data, "250 what", "temporary", "protocol");
    check(Phase::Dot, "550 5.7.1 spam", "permanent", "550");
    check(Phase::Dot, "452 4.3.1 disk full", "temporary", "452");
}

#[test]
fn no_reply_after_the_dot_is_uncertain() {
    let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let uncertain = ("temporary", "uncertain".to_owned());
    assert_eq!(verdict(Phase::Dot, Cause::Io(eof())), uncertain);
    assert_eq!(verdict(Phase::Dot, Cause::Io(late())), uncertain);
    assert_eq!(verdict(Phase::Dot, Cause::Malformed("x".into())), uncertain);
    check(Phase::Dot, "354 go on", "temporary", "uncertain");
    assert_eq!(verdict(Phase::Body, Cause::Io(eof())), ("temporary", "disconnected".into()));
    assert_eq!(verdict(Phase::Rcpt, Cause::Io(late())), ("temporary", "timeout".into()));
    assert_eq!(verdict(Phase::Connect, Cause::Io(late())), ("blocked", "relay_unavailable".into()));
}

#[test]
fn a_wait_named_by_the_relay_is_kept_within_bounds() {
    let minutes = |count| Some(Duration::from_mins(count));
    assert_eq!(hinted_wait("4.7.1 Greylisted, see you in 5 minutes"), minutes(5));
    assert_eq!(hinted_wait("try again in 300 seconds."), minutes(5));
    assert_eq!(hinted_wait("wait 2s"), None);
    assert_eq!(hinted_wait("wait 2 s"), minutes(1));
    assert_eq!(hinted_wait("retry in 4294967295 minutes"), minutes(60));
    assert_eq!(hinted_wait("later"), None);
}
