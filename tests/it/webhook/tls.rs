//! HTTPS endpoints with good and bad certificates.

use std::io::{Read, Write};
use std::path::PathBuf;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, ServerConnection, Stream};

use super::*;
use crate::webhook::peer::Peer;

/// A server that ends the handshake with `key`, and answers 200 to what comes then.
fn server(key: &CertifiedKey<KeyPair>) -> (Peer, Log<Vec<u8>>) {
    server_for(key, Arc::new(NoClientAuth))
}

/// The same, which asks for a certificate as `clients` says.
pub(super) fn server_for(
    key: &CertifiedKey<KeyPair>,
    clients: Arc<dyn ClientCertVerifier>,
) -> (Peer, Log<Vec<u8>>) {
    let log = Log::default();
    let record = Arc::clone(&log);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![key.cert.der().clone()],
            PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()).into(),
        );
    let config = Arc::new(config.unwrap());
    let peer = Peer::start(move |line| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = line.stream();
        let mut tls = Stream::new(&mut connection, &mut stream);
        let mut request = [0; 16 << 10];
        while let Ok(read @ 1..) = tls.read(&mut request) {
            let octets = &request[..read];
            record.lock().unwrap().push(octets.to_vec());
            // The body is a write of its own, and the end of the request.
            if octets.ends_with(b"}") {
                let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
        // Whoever was refused is to read why before the connection ends.
        line.hold();
    });
    (peer, log)
}

fn certificate(name: &str, until: i32) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

/// The certificate as a file, removed with its owner.
struct CaFile(PathBuf);

impl CaFile {
    fn new(key: &CertifiedKey<KeyPair>) -> Self {
        let path = std::env::temp_dir().join(format!("postrider-ca-{}.pem", Uuid::now_v7()));
        std::fs::write(&path, key.cert.pem()).unwrap();
        Self(path)
    }

    fn webhook(&self) -> Webhook {
        Webhook::new(&WebhookConfig { ca_file: Some(self.0.clone()), ..config() }).unwrap()
    }
}

impl Drop for CaFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn deliver_to(webhook: &Webhook, peer: &Peer) -> Result<Receipt, Failure> {
    let url = format!("https://localhost:{}/m4rk3r", peer.address().port());
    deliver_within(webhook, &url, Duration::from_secs(10))
}

pub(super) fn refused(result: Result<Receipt, Failure>, log: &Log<Vec<u8>>, cause: &str) {
    let failure = result.unwrap_err();
    assert_eq!((failure.code.as_str(), &failure.verdict), ("tls", &RETRY), "{failure}");
    assert!(failure.reason.contains(cause), "{failure}");
    assert!(!failure.reason.contains("m4rk3r"), "{failure}");
    assert!(log.lock().unwrap().is_empty(), "a request was sent");
}

#[test]
fn c46_a_certificate_of_a_known_authority_is_accepted_beside_the_public_ones() {
    let key = certificate("localhost", 2100);
    let (peer, log) = server(&key);
    let webhook = CaFile::new(&key).webhook();
    for _ in 0..3 {
        deliver_to(&webhook, &peer).unwrap();
    }
    assert!(log.lock().unwrap()[0].starts_with(b"POST /m4rk3r"));
    drop(webhook);
    assert_eq!(peer.connections(), 1, "the connection is used again");
}

#[test]
fn c46_a_self_signed_certificate_is_refused_unless_it_is_trusted() {
    let (peer, log) = server(&certificate("localhost", 2100));
    refused(deliver_to(&webhook(), &peer), &log, "unknown issuer");
}

#[test]
fn c46_a_certificate_that_has_expired_or_is_of_another_name_is_refused() {
    for (key, cause) in [
        (certificate("localhost", 2021), "expired"),
        (certificate("other.example.com", 2100), "another name"),
    ] {
        let (peer, log) = server(&key);
        refused(deliver_to(&CaFile::new(&key).webhook(), &peer), &log, cause);
    }
}

#[test]
fn c46_plain_http_on_a_tls_port_is_named() {
    let peer = Peer::start(|line| {
        line.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        line.hold();
    });
    let url = peer.url("/m4rk3r").replace("http:", "https:");
    let result = deliver_within(&webhook(), &url, Duration::from_secs(10));
    refused(result, &Log::default(), "does not speak TLS");
}
