//! Signatures of mails, checked by a verifier that is not ours: dkimpy, where Python has it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postrider::config::{BrandingConfig, DkimConfig, SmtpConfig, SmtpTls};
use postrider::message::{MailFields, MessageId, Prepared, Recipient};
use postrider::sink::smtp::{SinkReply, SmtpSink, SmtpSinkOptions};
use postrider::transport::smtp::Smtp;
use postrider::transport::{Deadline, Transport};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use uuid::Uuid;

/// Public half of `tests/data/dkim-rsa.pem`.
const RSA_PUBLIC: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAzZfnMDLozP8ViKs+v+wxr1Pu79Yi\
    zDnKaP+HwqueWqI3jy04ZzoJwUNwNv8AQhIy+OPgqEruFwbUF6/3xpEErdhazNuc5htN0hOkDRCmJeZOtIJnK5mmKffyyzgH\
    fwdLTzGy3B7ioKbVEkYfo8oGBkChhQ/4hSd+MmkCO2q7DA2eYSlZlpxwdiEtVjBoz3gosiM0WB0IUrleXEwnIAuIX3QR9Uti\
    A4+sh7u7G3xFa9gyo1BdPpPcUW/1V64iL830f1na6auyYIsGg4DIsy+NkxnzPJYB9RN9EEZlNrH5ZMXtfFqH3X+X2KLpisQZ\
    8vZdg3aPzHAOSIOLonRJSkSwswIDAQAB";

/// Prints what it makes of the mail on its standard input; DNS is the first argument.
const VERIFY: &str = "\
import sys, dkim
def dns(name, timeout=5):
    assert name == b's1._domainkey.example.com.', name
    return sys.argv[1].encode()
print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=dns))";

/// A Python with dkimpy: the one that `.ci/run` set up, else the system's.
fn python() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dkim/bin/python3");
    let has_it = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", "import dkim, nacl"]).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = [own, "python3".into()].into_iter().find(has_it);
    if found.is_none() {
        eprintln!("SKIPPED: no Python with dkimpy; see .ci/run for how to have one");
    }
    found
}

fn verifies(python: &Path, record: &str, mail: &[u8]) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", VERIFY, record]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(mail).unwrap();
    let output = child.wait_with_output().unwrap();
    match String::from_utf8(output.stdout).unwrap().trim() {
        "True" => true,
        "False" => false,
        other => panic!("the verifier said {other:?}"),
    }
}

/// A file that is gone at the end of the test.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(pkcs8: &[u8]) -> Self {
        let name = format!("postrider-dkim-{}.pem", Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let text = STANDARD.encode(pkcs8);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        fs::write(&path, pem).unwrap();
        Self(path)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // Nothing to do about one that stays.
    }
}

fn message() -> Prepared {
    Prepared {
        id: MessageId(Uuid::now_v7()),
        notification_id: Uuid::now_v7(),
        template_id: Uuid::now_v7(),
        template_name: "sample".into(),
        attempt: 1,
        recipient: Recipient {
            id: "bob".into(),
            email: Some("bob@example.com".into()),
            name: Some("Zoë \"Bob\" Smith".into()),
            username: None,
        },
        endpoint: None,
        endpoint_settings: None,
        title: "Dépêche reçue, et un long sujet qui doit être plié sur plusieurs lignes".into(),
        body: "Hi  there.   \n\n.a line with a dot\n\nlast\n\n\n".into(),
        actions: Vec::new(),
        mail: MailFields {
            from_address: Some("Builds <builds@example.com>".into()),
            reply_to: Some("Help <help@example.com>".into()),
            unsubscribe_url: Some("https://example.com/u/1".into()),
            thread_key: Some("build 7".into()),
        },
        targets: Vec::new(),
        payload: serde_json::Value::Null.into(),
        created_at: SystemTime::now(),
    }
}

/// What arrives when a mail is signed with a key.
fn arrival(key_file: &Path) -> Vec<u8> {
    let arrived = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&arrived);
    let mail = Box::new(move |mail: &postrider::sink::smtp::Mail| {
        taken.lock().unwrap().clone_from(&mail.raw);
        SinkReply::accept()
    });
    let sink = SmtpSink::start(SmtpSinkOptions { mail, ..SmtpSinkOptions::default() }).unwrap();
    let config = SmtpConfig {
        host: Some("127.0.0.1".into()),
        port: sink.addr().port(),
        tls: Some(SmtpTls::None),
        from: Some("notify@example.com".into()),
        dkim: DkimConfig {
            domain: Some("example.com".into()),
            selector: Some("s1".into()),
            key_file: Some(key_file.into()),
        },
        ..SmtpConfig::default()
    };
    let smtp = Smtp::new(&config, &BrandingConfig::default()).unwrap();
    smtp.deliver(&message(), Deadline::after(Duration::from_secs(20))).unwrap();
    arrived.lock().unwrap().clone()
}

/// Checks that the verifier takes the mail as it arrived, and none that was tampered with.
fn check(python: &Path, record: &str, mail: &[u8]) {
    assert!(verifies(python, record, mail), "{}", String::from_utf8_lossy(mail));
    let text = String::from_utf8(mail.to_vec()).unwrap();
    let tampered = [
        ("Builds\r\n <builds@", "Builds\r\n <b0ss@"),
        ("From: Builds", "From: Eve <eve@example.com>\r\nFrom: Builds"),
        ("Reply-To: Help\r\n <help@", "Reply-To: Help\r\n <eve@"),
        ("Subject: ", "Subject: Fwd: "),
        ("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", ""),
        ("https://example.com/u/1", "https://example.org/u/1"),
        ("References:\r\n <thread-", "References:\r\n <threat-"),
        ("there.", "where."),
    ];
    for (before, after) in tampered {
        let mail = text.replacen(before, after, 1);
        assert_ne!(mail, text, "{before:?} is not in\n{text}");
        assert!(!verifies(python, record, mail.as_bytes()), "{before:?}");
    }
    let relaxed = text.replacen("Subject: ", "subject:   ", 1);
    assert!(verifies(python, record, relaxed.as_bytes()));
}

#[test]
fn another_verifier_takes_an_rsa_signature_and_notices_tampering() {
    let Some(python) = python() else { return };
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dkim-rsa.pem");
    check(&python, &format!("v=DKIM1; k=rsa; p={RSA_PUBLIC}"), &arrival(&key));
}

#[test]
fn another_verifier_takes_an_ed25519_signature_and_notices_tampering() {
    let Some(python) = python() else { return };
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(public.public_key()));
    let file = KeyFile::new(pkcs8.as_ref());
    check(&python, &record, &arrival(&file.0));
}
