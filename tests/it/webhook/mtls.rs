//! Endpoints with TLS settings of their own, against a server that demands a certificate.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use postrider::config::Secret;
use postrider::endpoint::{ClientIdentity, EndpointSettings, EndpointTls};
use postrider::transport::webhook::keep;
use postrider::vault::Vault;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, DnType, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use serde_json::Value;

use super::tls::{refused, server_for};
use super::*;
use crate::rig::Rig;
use crate::webhook::peer::Peer;

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Of two authorities of one name, the wrong one would be tried.
        params.distinguished_name.push(DnType::CommonName, Uuid::now_v7().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> CertifiedKey<KeyPair> {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let signing_key = KeyPair::generate().unwrap();
        CertifiedKey { cert: params.signed_by(&signing_key, &self.0).unwrap(), signing_key }
    }

    /// A server with a certificate of this authority that lets in who has another one of it.
    fn server(&self) -> (Peer, Log<Vec<u8>>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        server_for(&self.issue("localhost"), clients.build().unwrap())
    }
}

fn encryption_key() -> Secret {
    Secret::new(BASE64_STANDARD.encode([7; 32]))
}

fn vault() -> Vault {
    Vault::new(Some(&encryption_key())).unwrap()
}

fn url(peer: &Peer) -> String {
    format!("https://localhost:{}/m4rk3r", peer.address().port())
}

/// An endpoint `bank` at `peer` that trusts `authority` and shows `client`.
fn bank(
    peer: &Peer,
    authority: &Authority,
    client: Option<&CertifiedKey<KeyPair>>,
) -> EndpointSettings {
    let mut settings = EndpointSettings::new("bank", url(peer));
    let identity = client.map(|client| {
        let key = Secret::new(client.signing_key.serialize_pem());
        let key = keep::seal_client_key(&settings, &vault(), &key).unwrap();
        ClientIdentity { certificate: client.cert.pem(), key }
    });
    settings.tls = EndpointTls { authorities: Some(authority.0.pem()), identity };
    settings
}

fn sealing_webhook() -> Webhook {
    let config = WebhookConfig { encryption_key: Some(encryption_key()), ..config() };
    Webhook::new(&config).unwrap()
}

fn deliver_to(webhook: &Webhook, settings: &EndpointSettings) -> Result<Receipt, Failure> {
    let endpoint_settings = Some(Arc::new(settings.clone()));
    let message = Prepared { endpoint_settings, ..message(settings.url.clone()) };
    webhook.deliver(&message, Deadline::after(Duration::from_secs(10)))
}

#[test]
fn an_endpoint_with_a_certificate_is_let_in_on_connections_of_its_own() {
    let authority = Authority::new();
    let (peer, log) = authority.server();
    let webhook = sealing_webhook();
    let settings = bank(&peer, &authority, Some(&authority.issue("worker.example.com")));
    for _ in 0..3 {
        deliver_to(&webhook, &settings).unwrap();
    }
    assert!(log.lock().unwrap()[0].starts_with(b"POST /m4rk3r"));
    // The peer serves one connection at a time, and that one is the endpoint's own.
    let result = deliver_within(&webhook, &url(&peer), Duration::from_millis(800));
    assert!(result.is_err(), "the connection of another endpoint was used");
}

#[test]
fn a_peer_that_misses_a_certificate_or_does_not_know_its_authority_is_named() {
    let authority = Authority::new();
    let stranger = Authority::new().issue("worker.example.com");
    for (client, cause) in
        [(None, "it wants a client certificate"), (Some(&stranger), "it ended the handshake")]
    {
        let (peer, log) = authority.server();
        let result = deliver_to(&sealing_webhook(), &bank(&peer, &authority, client));
        refused(result, &log, cause);
    }
}

#[test]
fn the_authority_of_one_endpoint_is_not_trusted_for_another() {
    let authority = Authority::new();
    let client = authority.issue("worker.example.com");
    let webhook = sealing_webhook();
    for (known, is_sent) in [(&authority, true), (&Authority::new(), false)] {
        let (peer, log) = authority.server();
        let settings = bank(&peer, known, Some(&client));
        let named = EndpointSettings { name: format!("bank-{is_sent}"), ..settings };
        // A key is bound to the name of its endpoint.
        let key = Secret::new(client.signing_key.serialize_pem());
        let key = keep::seal_client_key(&named, &vault(), &key).unwrap();
        let identity = Some(ClientIdentity { certificate: client.cert.pem(), key });
        let tls = EndpointTls { identity, ..named.tls.clone() };
        let result = deliver_to(&webhook, &EndpointSettings { tls, ..named });
        if is_sent {
            result.unwrap();
        } else {
            refused(result, &log, "unknown issuer");
        }
    }
}

#[test]
fn a_new_version_of_an_endpoint_shows_its_new_certificate() {
    let authority = Authority::new();
    let webhook = sealing_webhook();
    let (peer, log) = authority.server();
    let stranger = Authority::new().issue("worker.example.com");
    let refused_one = bank(&peer, &authority, Some(&stranger));
    refused(deliver_to(&webhook, &refused_one), &log, "it ended the handshake");
    let good = bank(&peer, &authority, Some(&authority.issue("worker.example.com")));
    deliver_to(&webhook, &EndpointSettings { version: 2, ..good }).unwrap();
}

#[test]
fn what_cannot_be_used_is_named_and_not_shown() {
    let authority = Authority::new();
    let client = authority.issue("worker.example.com");
    let (peer, _) = authority.server();
    let good = bank(&peer, &authority, Some(&client));
    let pem = |key: &str| {
        let key = keep::seal_client_key(&good, &vault(), &Secret::new(key)).unwrap();
        Some(ClientIdentity { certificate: client.cert.pem(), key })
    };
    let with = |tls: EndpointTls| EndpointSettings { tls, ..good.clone() };
    let good_tls = || good.tls.clone();
    let other = pem(&KeyPair::generate().unwrap().serialize_pem());
    let unreadable = ClientIdentity { certificate: "m4rk3r".into(), key: pem("x").unwrap().key };
    let mut in_clear = good.clone();
    keep::move_to(&mut in_clear, &vault(), "http://localhost/m4rk3r").unwrap();
    let cases = [
        (with(EndpointTls { authorities: Some("m4rk3r".into()), ..good_tls() }), "authorities"),
        (with(EndpointTls { identity: other, ..good_tls() }), "do not belong together"),
        (with(EndpointTls { identity: pem("m4rk3r"), ..good_tls() }), "without a passphrase"),
        (with(EndpointTls { identity: Some(unreadable), ..good_tls() }), "client certificate"),
        (in_clear, "https"),
    ];
    for (settings, cause) in cases {
        let error = keep::check(&settings, &vault()).unwrap_err().to_string();
        assert!(error.contains(cause) && !error.contains("m4rk3r"), "{error}");
    }
    keep::check(&good, &vault()).unwrap();
    let failure = deliver_to(&webhook(), &good).unwrap_err();
    assert_eq!(failure.code, "encryption_key");
    assert!(matches!(failure.verdict, Verdict::Blocked { .. }), "{failure:?}");
}

/// Runs the binary on the database of the rig.
fn postrider(rig: &Rig, key: Option<&Secret>, args: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    command.env("POSTRIDER_DATABASE_URL", rig.db.url());
    command.env("POSTRIDER_WEBHOOK__ALLOW_PRIVATE", "true");
    if let Some(key) = key {
        command.env("POSTRIDER_WEBHOOK__ENCRYPTION_KEY", key.expose());
    }
    let output = command.args(args).arg("--json").output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), value, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_commands_keep_certificates_and_show_whom_they_name_but_never_a_key() {
    let mut rig = Rig::new();
    let authority = Authority::new();
    let client = authority.issue("worker.example.com");
    let (peer, log) = authority.server();
    let files = std::env::temp_dir().join(format!("postrider-mtls-{}", Uuid::now_v7()));
    std::fs::create_dir(&files).unwrap();
    let file = |name: &str, text: String| {
        let path = files.join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let key_pem = client.signing_key.serialize_pem();
    let ca = file("ca.pem", authority.0.pem());
    let cert = file("us.pem", client.cert.pem());
    let key = file("us.key", key_pem.clone());
    let url = url(&peer);
    let set = ["endpoint", "set", "bank", "--url", &url, "--ca-file", &ca];
    let set = [&set[..], &["--cert-file", &cert, "--key-file", &key]].concat();

    let (code, _, errors) = postrider(&rig, None, &set);
    assert_eq!(code, Some(2));
    assert!(errors.contains("webhook.encryption_key is not set"), "{errors}");
    assert_eq!(rig.count("endpoints"), 0);

    let (code, _, errors) = postrider(&rig, Some(&encryption_key()), &set);
    assert_eq!(code, Some(0), "{errors}");
    let secret = key_pem.lines().nth(1).unwrap();
    let sql = format!("select count(*) from postrider.endpoints e where e::text ~ '{secret}'");
    assert_eq!(rig.number(&sql), 0, "the key lies in the table in clear");
    let clear = "update postrider.endpoints set client_key = 'clear'";
    assert!(rig.client.batch_execute(clear).is_err(), "the table takes a key in clear");

    let (_, shown, _) = postrider(&rig, None, &["endpoint", "show", "bank"]);
    let about = shown["client_certificate"].as_str().unwrap();
    assert!(about.contains("worker.example.com, until "), "{shown}");
    assert_eq!(shown["has_authorities"], true);

    let test_send = ["test-send", "--endpoint", "bank"];
    let (code, told, errors) = postrider(&rig, Some(&encryption_key()), &test_send);
    assert_eq!(code, Some(0), "{errors}");
    let step = |name: &str| {
        told["steps"].as_array().unwrap().iter().find(|it| it["step"] == name).unwrap()["what"]
            .to_string()
    };
    assert!(step("client certificate").contains("worker.example.com"), "{told}");
    assert!(step("TLS").contains("localhost"), "{told}");
    assert!(!log.lock().unwrap().is_empty());

    let drop_both = ["endpoint", "set", "bank", "--remove-cert", "--remove-ca"];
    assert_eq!(postrider(&rig, Some(&encryption_key()), &drop_both).0, Some(0));
    let (code, told, errors) = postrider(&rig, Some(&encryption_key()), &test_send);
    assert_eq!((code, told["code"].as_str()), (Some(1), Some("tls")));
    assert!(errors.contains("--ca-file"), "{errors}");
    std::fs::remove_dir_all(files).unwrap();
}
