//! The published vectors, and secrets that must be refused.

use super::*;

const PAIR: &str =
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &str = r#"{"test": 2432232314}"#;
const V1: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const V1A: &str =
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";

fn check(secret: &str, id: &str, timestamp: u64, body: &str, header: &str) {
    let signer = Signer::new(&Secret::new(secret)).unwrap();
    assert_eq!(signer.signatures(id, timestamp, body.as_bytes()), header);
}

#[test]
fn the_published_vectors_come_out() {
    check(SHARED, ID, 1_614_265_330, BODY, V1);
    check(
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        r#"{"email":"test@example.com","username":"test_user"}"#,
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    );
    check(
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "00000000-0000-4000-8000-000000000001",
        1_700_000_000,
        r#"{"title":"hé"}"#,
        "v1,CgUtft9vNq4QO88Fnl0iRgQ5OgWVa0OJ5yEyQqMfQfU=",
    );
    check(PAIR, ID, 1_614_265_330, BODY, V1A);
}

#[test]
fn while_a_key_is_replaced_both_sign_the_current_one_first() {
    check(&format!("{SHARED}  {PAIR}\n"), ID, 1_614_265_330, BODY, &format!("{V1} {V1A}"));
}

#[test]
fn a_bad_secret_is_refused_without_being_shown() {
    let swapped = {
        let bytes = BASE64_STANDARD.decode(&PAIR[5..]).unwrap();
        format!("whsk_{}", BASE64_STANDARD.encode([&bytes[..32], &[7; 32]].concat()))
    };
    for (secret, error) in [
        ("", BadSecret::Prefix),
        ("plainmarker", BadSecret::Prefix),
        ("whsec_mark*er", BadSecret::Base64),
        ("whsec_bWFya2Vy", BadSecret::SharedLength(6)),
        ("whsec_", BadSecret::SharedLength(0)),
        ("whsk_bWFya2Vy", BadSecret::PairLength(6)),
        (swapped.as_str(), BadSecret::Pair),
    ] {
        let refused = Signer::new(&Secret::new(secret)).unwrap_err();
        assert_eq!(refused, error);
        let marker = secret.rsplit('_').next().unwrap();
        assert!(marker.is_empty() || !refused.to_string().contains(marker));
    }
}

#[test]
fn an_expired_key_signs_no_more() {
    let mut signer = Signer::new(&Secret::new(SHARED)).unwrap();
    signer.push(&Secret::new(PAIR), Some(1_614_265_331)).unwrap();
    let signatures = |at| signer.signatures(ID, at, BODY.as_bytes());
    assert_eq!(signatures(1_614_265_330), format!("{V1} {V1A}"));
    assert_eq!(signatures(1_614_265_331).split(' ').count(), 1);
}
