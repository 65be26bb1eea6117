//! What is sealed opens with its key at its place, and nowhere else.

use super::*;

fn vault(octet: u8) -> Vault {
    let key = Secret::new(BASE64_STANDARD.encode([octet; 32]));
    Vault::new(Some(&key)).unwrap()
}

fn open(vault: &Vault, stored: &str, place: &str) -> Result<String, VaultError> {
    vault.open(stored, place).map(|secret| secret.expose().to_owned())
}

#[test]
fn a_sealed_secret_opens_with_its_key_and_hides_its_text() {
    let vault = vault(1);
    let stored = vault.seal("m4rk3r é", "ops/secret").unwrap();
    assert!(!stored.contains("m4rk3r") && stored.starts_with(PREFIX));
    assert_eq!(open(&vault, &stored, "ops/secret").unwrap(), "m4rk3r é");
    assert_ne!(vault.seal("m4rk3r é", "ops/secret").unwrap(), stored, "a nonce is used once");
}

#[test]
fn a_missing_or_wrong_key_and_another_place_are_clear_errors() {
    let stored = vault(1).seal("m4rk3r", "ops/secret").unwrap();
    let none = Vault::new(None).unwrap();
    assert_eq!(open(&none, &stored, "ops/secret"), Err(VaultError::Missing));
    assert_eq!(open(&vault(2), &stored, "ops/secret"), Err(VaultError::Wrong));
    assert_eq!(open(&vault(1), &stored, "other/secret"), Err(VaultError::Wrong));
    for damaged in ["sealed.v1.", "sealed.v1.AAAA", "sealed.v1.*", &stored[..stored.len() - 4]] {
        assert_eq!(open(&vault(1), damaged, "ops/secret"), Err(VaultError::Wrong), "{damaged}");
    }
}

#[test]
fn what_was_stored_before_there_was_a_key_is_read_only_once_it_is_sealed() {
    let none = Vault::new(None).unwrap();
    let stored = none.seal("plain", "p").unwrap();
    assert_eq!((stored.as_str(), open(&none, &stored, "p")), ("plain", Ok("plain".into())));
    assert_eq!(open(&vault(1), &stored, "p"), Err(VaultError::Plain));
    let sealed = vault(1).seal_stored(&stored, "p").unwrap();
    assert_eq!(open(&vault(1), &sealed, "p").unwrap(), "plain");
    assert_eq!(vault(1).seal_stored(&sealed, "p").unwrap(), sealed, "once is enough");
    assert_eq!(none.seal_stored(&stored, "p"), Err(VaultError::Unset));
}

#[test]
fn what_is_moved_to_another_place_opens_there_and_no_longer_at_the_first() {
    let vault = vault(1);
    let stored = vault.seal("m4rk3r", "a").unwrap();
    let moved = vault.reseal(&stored, "a", "b").unwrap();
    assert_eq!(open(&vault, &moved, "b").unwrap(), "m4rk3r");
    assert_eq!(open(&vault, &moved, "a"), Err(VaultError::Wrong));
    assert_eq!(vault.reseal(&moved, "a", "b").unwrap(), moved, "it is there already");
    assert_eq!(vault.reseal(&moved, "a", "c"), Err(VaultError::Wrong));
}

#[test]
fn a_bad_key_is_refused_without_being_shown() {
    for text in ["", "m4rk3r", "AAAA", "*"] {
        let error = Vault::new(Some(&Secret::new(text))).unwrap_err();
        assert_eq!(error, VaultError::Key);
        assert!(!error.to_string().contains("m4rk3r"));
    }
    assert_eq!(vault(1).seal("sealed.v1.x", "p"), Err(VaultError::Looks));
}
