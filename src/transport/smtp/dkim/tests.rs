//! The examples of the standards, and keys that cannot sign.

use std::path::PathBuf;

use super::*;

/// The mail of RFC 8463, appendix A, without its signatures.
const FOOTBALL: &str = "From: Joe SixPack <joe@football.example.com>\r\n\
    To: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\n\
    Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\
    \r\n\
    Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
const FOOTBALL_SIGNATURE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n \
    d=football.example.com; i=@football.example.com;\r\n \
    q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n \
    subject : date : message-id : from : subject : date;\r\n \
    bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
const FOOTBALL_VALUE: &str = "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\
    Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
const FOOTBALL_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

fn football_key() -> Key {
    let seed = STANDARD.decode(FOOTBALL_SEED).unwrap();
    Key::Ed25519(Ed25519KeyPair::from_seed_unchecked(&seed).unwrap())
}

#[test]
fn fields_are_relaxed_as_in_the_example_of_rfc_6376() {
    let fields = fields("A: X\r\nB : Y\t\r\n\tZ  \r\n");
    assert_eq!(fields.iter().map(|it| relaxed_field(it)).collect::<Vec<_>>(), ["a:X", "b:Y Z"]);
}

#[test]
fn a_body_is_relaxed_as_in_the_example_of_rfc_6376() {
    assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
    assert_eq!(relaxed_body(b""), b"");
    assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
    assert_eq!(relaxed_body(b"no end"), b"no end\r\n");
}

#[test]
fn the_signature_of_rfc_8463_comes_out() {
    let (head, body) = split(FOOTBALL.as_bytes());
    let body_hash = STANDARD.encode(digest(&SHA256, &relaxed_body(body)));
    assert!(FOOTBALL_SIGNATURE.contains(&format!("bh={body_hash};")), "{body_hash}");
    let mut signed: String =
        fields(&head).iter().map(|field| relaxed_field(field) + "\r\n").collect();
    signed += &relaxed_field(FOOTBALL_SIGNATURE);
    let value = STANDARD.encode(football_key().sign(signed.as_bytes()).unwrap());
    assert_eq!(value, FOOTBALL_VALUE);
}

#[test]
fn a_signature_names_the_fields_that_are_there_and_from_twice() {
    let signer =
        Signer { domain: "example.com".into(), selector: "s1".into(), key: football_key() };
    let field = signer.sign(FOOTBALL.as_bytes(), 1).unwrap();
    let flat = relaxed_field(&field);
    assert!(
        flat.contains("d=example.com; s=s1; h=from:from:to:subject: date:message-id; "),
        "{flat}"
    );
    assert!(field.ends_with("\r\n"));
    for line in field.lines() {
        assert!(line.len() <= 78, "{line}");
    }
}

#[test]
fn settings_that_cannot_sign_are_refused_by_name() {
    let config = |domain: &str, key_file: Option<&str>| DkimConfig {
        domain: Some(domain.into()),
        selector: Some("s1".into()),
        key_file: key_file.map(PathBuf::from),
    };
    let refused = |config| Signer::new(&config).err().unwrap().to_string();
    assert!(refused(config("example.com", None)).contains("smtp.dkim.key_file"));
    assert!(refused(config("example.com; x", Some("x"))).starts_with("smtp.dkim.domain"));
    let said = refused(config("example.com", Some("no-such-file.pem")));
    assert!(said.contains("smtp.dkim.key_file") && said.contains("no-such-file"), "{said}");
    assert!(Signer::new(&DkimConfig::default()).unwrap().is_none());
}
