//! TLS from the first octet and by STARTTLS, and peers that tamper with it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::hostile::ACTS;
use super::*;
use crate::config::Secret;
use crate::sink::smtp::{SinkTls, SmtpSink, SmtpSinkOptions};

/// A certificate for `localhost` and 127.0.0.1, and its file, which is removed at the end.
struct Certificate {
    server: Arc<ServerConfig>,
    path: PathBuf,
}

impl Certificate {
    fn new() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let path = std::env::temp_dir().join(format!("postrider-{}.pem", Uuid::new_v4()));
        fs::write(&path, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Self { server: Arc::new(server), path }
    }

    fn play(&self, script: &[Line]) -> Peer {
        Peer::start(vec![script.to_vec()], Some(Arc::clone(&self.server)))
    }

    /// Trusts the certificate and has credentials.
    fn config(&self, port: u16, tls: SmtpTls) -> SmtpConfig {
        SmtpConfig {
            tls: Some(tls),
            ca_file: Some(self.path.clone()),
            username: Some("ann".into()),
            password: Some(Secret::new("open-sesame")),
            ..config(port)
        }
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap();
    }
}

const AUTHENTICATED: [Line; 2] =
    [("EHLO", "250-relay.example.com\r\n250 AUTH PLAIN"), ("AUTH PLAIN", "235 welcome")];
const STARTTLS: [Line; 3] = [
    ("", "220 relay.example.com"),
    ("EHLO", "250-relay.example.com\r\n250 STARTTLS"),
    ("STARTTLS", "220 go"),
];

fn send(config: &SmtpConfig) -> Result<Receipt, Failure> {
    smtp(config).deliver(&sample(), Deadline::after(Duration::from_secs(2)))
}

#[test]
fn a_mail_goes_out_in_tls_from_the_first_octet() {
    let certificate = Certificate::new();
    let script = [&[("", "<tls>"), PLAIN_RELAY[0]], &AUTHENTICATED[..], &PLAIN_RELAY[2..]].concat();
    let peer = certificate.play(&script);
    send(&certificate.config(peer.port(), SmtpTls::Implicit)).unwrap();
}

#[test]
fn a_mail_goes_out_after_starttls_and_a_second_ehlo() {
    let certificate = Certificate::new();
    for tls in [SmtpTls::Required, SmtpTls::Opportunistic] {
        let script = [&STARTTLS[..], &[("", "<tls>")], &AUTHENTICATED, &PLAIN_RELAY[2..]].concat();
        let peer = certificate.play(&script);
        send(&certificate.config(peer.port(), tls)).unwrap();
    }
}

#[test]
fn the_sink_takes_mail_in_tls_for_the_right_password_only() {
    let certificate = Certificate::new();
    for (implicit, tls) in [(true, SmtpTls::Implicit), (false, SmtpTls::Required)] {
        let config = Arc::clone(&certificate.server);
        let sink = SmtpSink::start(SmtpSinkOptions {
            tls: Some(SinkTls { config, implicit }),
            credentials: Some(("ann".into(), "open-sesame".into())),
            ..SmtpSinkOptions::default()
        })
        .unwrap();
        let config = certificate.config(sink.addr().port(), tls);
        let transport = smtp(&config);
        for _ in 0..3 {
            transport.deliver(&sample(), Deadline::after(LONG)).unwrap();
        }
        assert_eq!((sink.arrived(), sink.connected()), (3, 1));
        let password = Some(Secret::new("wrong-word"));
        let failure = send(&SmtpConfig { password, ..config }).unwrap_err();
        assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_auth"));
        assert!(!failure.reason.contains("wrong-word"), "{}", failure.reason);
    }
}

#[test]
fn without_starttls_an_opportunistic_mail_goes_in_clear() {
    let peer = Peer::play(&PLAIN_RELAY);
    send(&SmtpConfig { tls: Some(SmtpTls::Opportunistic), ..config(peer.port()) }).unwrap();
}

#[test]
fn c13_a_stripped_or_refused_starttls_stops_the_mail() {
    let certificate = Certificate::new();
    let stripped = &PLAIN_RELAY[..2];
    let no_ehlo: &[Line] = &[PLAIN_RELAY[0], ("EHLO", "502 what")];
    let refused = &[STARTTLS[0], STARTTLS[1], ("STARTTLS", "454 4.7.0 no")];
    for (script, told) in [(stripped, "STARTTLS"), (refused, "454 4.7.0 no"), (no_ehlo, "502")] {
        let peer = Peer::play(script);
        let failure = send(&certificate.config(peer.port(), SmtpTls::Required)).unwrap_err();
        assert_eq!(kind(&failure), "blocked");
        assert!(failure.reason.contains(told), "{}", failure.reason);
        let heard = &peer.heard()[0];
        assert!(
            heard.iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"),
            "{heard:?}"
        );
    }
}

#[test]
fn c13_what_was_injected_behind_the_220_drops_the_connection() {
    let certificate = Certificate::new();
    let injected = "220 go\r\n250-evil\r\n250 AUTH PLAIN";
    let peer = certificate.play(&[STARTTLS[0], STARTTLS[1], ("STARTTLS", injected), ("", "<tls>")]);
    let failure = send(&certificate.config(peer.port(), SmtpTls::Required)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_tls"));
    assert!(failure.reason.contains("in clear"), "{}", failure.reason);
    assert_eq!(peer.heard()[0], ["EHLO worker.example.com", "STARTTLS"]);
}

#[test]
fn c14_tls_that_is_not_wanted_is_not_tried() {
    let mut script = PLAIN_RELAY;
    script[1].1 = "250-relay.example.com\r\n250 STARTTLS";
    let peer = Peer::play(&script);
    send(&config(peer.port())).unwrap();
    assert!(!peer.heard()[0].contains(&"STARTTLS".to_owned()));
}

#[test]
fn c14_a_mismatch_of_modes_names_the_step() {
    let certificate = Certificate::new();
    // TLS expected, the relay speaks in clear.
    let peer = Peer::play(&[PLAIN_RELAY[0]]);
    let failure = send(&certificate.config(peer.port(), SmtpTls::Implicit)).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_tls"));
    assert!(failure.reason.contains("TLS handshake"), "{}", failure.reason);
    assert!(failure.reason.contains("smtp.tls"), "{}", failure.reason);
    // The relay expects TLS.
    let peer = certificate.play(&[("", "<tls>")]);
    let transport = smtp(&config(peer.port()));
    let deadline = Deadline::after(Duration::from_millis(200));
    let failure = transport.deliver(&sample(), deadline).unwrap_err();
    assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_unavailable"));
    assert!(failure.reason.contains("greeting: timed out"), "{}", failure.reason);
    assert!(failure.reason.contains("implicit"), "{}", failure.reason);
}

#[test]
fn c14_a_certificate_that_is_not_trusted_stops_the_mail() {
    let certificate = Certificate::new();
    for (ca_file, server_name) in
        [(None, None), (Some(certificate.path.clone()), Some("relay.example.com".to_owned()))]
    {
        let peer = certificate.play(&[&STARTTLS[..], &[("", "<tls>")]].concat());
        let config = SmtpConfig {
            ca_file,
            server_name,
            ..certificate.config(peer.port(), SmtpTls::Required)
        };
        let failure = send(&config).unwrap_err();
        assert_eq!((kind(&failure), failure.code.as_str()), ("blocked", "relay_tls"));
        assert!(failure.reason.contains("TLS handshake"), "{}", failure.reason);
        assert!(failure.reason.contains("ca_file"), "{}", failure.reason);
        assert_eq!(peer.heard()[0].last().unwrap(), "STARTTLS");
    }
}

#[test]
fn a_server_name_of_its_own_is_what_the_certificate_must_have() {
    let certificate = Certificate::new();
    let script = [&[("", "<tls>"), PLAIN_RELAY[0]], &AUTHENTICATED[..], &PLAIN_RELAY[2..]].concat();
    let peer = certificate.play(&script);
    let server_name = Some("localhost".into());
    send(&SmtpConfig { server_name, ..certificate.config(peer.port(), SmtpTls::Implicit) })
        .unwrap();
}

#[test]
fn no_peer_holds_a_session_that_begins_in_tls_beyond_its_deadline() {
    let limit = Duration::from_millis(300);
    let certificate = &Certificate::new();
    let check = |phase: &str, tls: SmtpTls, script: Vec<Line>| {
        let what = format!("{phase} {:?}", script.last());
        let failure = in_time(limit, &what, || {
            let peer = certificate.play(&script);
            let transport = smtp(&certificate.config(peer.port(), tls));
            transport.deliver(&sample(), Deadline::after(limit)).unwrap_err()
        });
        assert_eq!(kind(&failure), "blocked", "{what}: {failure}");
    };
    let secured = [&STARTTLS[..], &[("", "<tls>")]].concat();
    std::thread::scope(|scope| {
        for act in ACTS {
            let (check, secured) = (&check, &secured);
            scope.spawn(move || {
                check("implicit", SmtpTls::Implicit, vec![("", act)]);
                let required = |before: &[Line], step: Line| {
                    check("required", SmtpTls::Required, [before, &[step]].concat());
                };
                required(&STARTTLS[..2], ("STARTTLS", act));
                required(&STARTTLS, ("", act));
                required(secured, ("EHLO", act));
                required(&[&secured[..], &AUTHENTICATED[..1]].concat(), ("AUTH", act));
            });
        }
    });
}
