//! Settings that cannot work are told at start.

use super::*;
use crate::config::Secret;

fn config() -> SmtpConfig {
    SmtpConfig {
        host: Some("127.0.0.1".into()),
        from: Some("notify@example.com".into()),
        ..SmtpConfig::default()
    }
}

/// The whole chain of causes of a refusal.
fn refusal(config: &SmtpConfig) -> String {
    let Err(err) = Relay::new(config) else { panic!("taken: {config:?}") };
    let source = std::error::Error::source(&err).map(ToString::to_string).unwrap_or_default();
    format!("{err}: {source}")
}

#[test]
fn a_missing_setting_is_named() {
    assert!(refusal(&SmtpConfig { host: None, ..config() }).contains("smtp.host"));
    assert!(refusal(&SmtpConfig { from: None, ..config() }).contains("smtp.from"));
    let cert_file = Some("/x.pem".into());
    assert!(refusal(&SmtpConfig { cert_file, ..config() }).contains("smtp.key_file"));
    let key_file = Some("/x.pem".into());
    assert!(refusal(&SmtpConfig { key_file, ..config() }).contains("smtp.cert_file"));
}

#[test]
fn c07_a_user_name_without_a_password_is_refused() {
    let username = Some("ann".to_owned());
    let told = refusal(&SmtpConfig { username: username.clone(), ..config() });
    assert!(told.contains("smtp.password"), "{told}");
    let password = Some(Secret::new(""));
    let told = refusal(&SmtpConfig { username, password, ..config() });
    assert!(told.contains("smtp.password"), "{told}");
    let password = Some(Secret::new("open-sesame"));
    let told = refusal(&SmtpConfig { password, ..config() });
    assert!(told.contains("smtp.username") && !told.contains("sesame"), "{told}");
}

#[test]
fn a_sender_that_is_no_address_is_refused() {
    for from in ["", "nobody", "a@example.com, b@example.com", "Ann <ann>"] {
        let told = refusal(&SmtpConfig { from: Some(from.into()), ..config() });
        assert!(told.starts_with("smtp.from: "), "{told}");
    }
}

#[test]
fn c23_a_bad_hello_is_refused() {
    for hello in ["h\r\nMAIL FROM:<x@example.com>", "a b", "", "h\0", "häuschen"] {
        let told = refusal(&SmtpConfig { hello: Some(hello.into()), ..config() });
        assert!(told.starts_with("smtp.hello: "), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let ca_file = Some(PathBuf::from("/nonexistent/ca.pem"));
    let told = refusal(&SmtpConfig { ca_file, ..config() });
    assert!(told.contains("smtp.ca_file") && told.contains("/nonexistent/ca.pem"), "{told}");
    let no_pem = Some(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
    let told = refusal(&SmtpConfig { ca_file: no_pem, ..config() });
    assert!(told.contains("smtp.ca_file") && told.contains("Cargo.toml"), "{told}");
}

#[test]
fn a_host_that_is_no_name_is_refused() {
    let told = refusal(&SmtpConfig { host: Some("a b".into()), ..config() });
    assert!(told.starts_with("smtp.host: "), "{told}");
    let server_name = Some("a b".into());
    let told = refusal(&SmtpConfig { server_name, ..config() });
    assert!(told.starts_with("smtp.server_name: "), "{told}");
}
