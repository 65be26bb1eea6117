//! Tests of the reader: against `serde_json` where both mean the same, and where they do not.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn payload(text: &str) -> Payload {
    RawValue::from_string(text.into()).unwrap().into()
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}|[\"\\\\\n\t\u{1}é😱]{0,5}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("[a-c\"\\\\é]{0,2}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_reads_what_serde_json_writes(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let payload = payload(&text);
        let read = payload.read().unwrap();
        prop_assert_eq!(read.to_json(), value.clone());
        prop_assert_eq!(&read, &read.clone());
        for (name, member) in value.as_object().into_iter().flatten() {
            let found = payload.get(name).unwrap();
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(found).unwrap(), member);
            prop_assert_eq!(&read.get(name).unwrap().to_json(), member);
        }
        prop_assert!(payload.get("no such member").is_none());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ \\[\\]{}:,\"\\\\a-fntru0-9.eE+-]{0,40}|\\PC{0,20}") {
        let ours = Value::read(&text);
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text);
        if let Ok(value) = ours {
            prop_assert!(theirs.is_ok(), "{}", text);
            let _ = (value.to_json(), value.size());
        }
        let _ = (Reader::new(&text).member("a"), Reader::new(&text).member(""));
    }

    #[test]
    fn numbers_compare_as_the_integers_that_they_are(a: i64, b: i64, zeros in 0_usize..3) {
        let written = |number: i64| format!("{number}.{}e0", "0".repeat(zeros + 1));
        prop_assert_eq!(number::compare(&a.to_string(), &written(b)), a.cmp(&b));
        prop_assert_eq!(number::compare(&written(a), &a.to_string()), Ordering::Equal);
    }
}

#[test]
fn numbers_of_any_size_and_form_compare_by_their_worth() {
    let huge = format!("1{}", "0".repeat(400));
    for (a, b, order) in [
        ("9007199254740993", "9007199254740992", Ordering::Greater),
        ("1e400", huge.as_str(), Ordering::Equal),
        ("1e400", "1e401", Ordering::Less),
        ("-1e400", "1", Ordering::Less),
        ("0.10", "0.1", Ordering::Equal),
        ("0.10", "0.101", Ordering::Less),
        ("-0", "0.0e5", Ordering::Equal),
        ("1e-99999999999999999999", "0", Ordering::Greater),
        ("1e99999999999999999999", "9", Ordering::Greater),
        ("120", "12e1", Ordering::Equal),
        ("-2", "-10", Ordering::Greater),
        ("0.002", "2E-3", Ordering::Equal),
    ] {
        assert_eq!(number::compare(a, b), order, "{a} {b}");
        assert_eq!(number::compare(b, a), order.reverse(), "{b} {a}");
    }
}

#[test]
fn a_name_that_serde_json_keeps_to_itself_is_a_name() {
    for name in ["RawValue", "Number", "Spanned"] {
        let name = format!("$serde_json::private::{name}");
        for inner in [r#""[[[1]]]""#, r#""12""#, r#""no number""#, "[1]", "{}"] {
            let text = format!(r#"{{"data": {{"{name}": {inner}}}, "x": 1}}"#);
            let payload = payload(&text);
            let read = payload.read().unwrap();
            let kept = read.get("data").unwrap().get(&name).unwrap();
            assert_eq!(kept.to_json(), serde_json::from_str::<serde_json::Value>(inner).unwrap());
            assert_eq!(payload.get("data"), Some(&*format!(r#"{{"{name}": {inner}}}"#)));
            assert_eq!(payload.with_actions("[]")[0..1], [&text[..text.len() - 1]]);
        }
    }
}

#[test]
fn fields_and_labels_are_found_by_name() {
    let text = r#"{"a": [1, {"labels": 2}], "labels": {"phone": "+49 \"1\"", "n": 0.10, "b": true,
                   "none": null, "list": [1], "big": 9007199254740993}, "last": "x"}"#;
    let payload = payload(text);
    assert_eq!(payload.get("last"), Some("\"x\""));
    assert_eq!(payload.get("a"), Some(r#"[1, {"labels": 2}]"#));
    let label = |name| payload.label(name);
    assert_eq!(label("phone").as_deref(), Some("+49 \"1\""));
    assert_eq!((label("n").as_deref(), label("b").as_deref()), (Some("0.10"), Some("true")));
    assert_eq!(label("big").as_deref(), Some("9007199254740993"));
    assert_eq!((label("none"), label("list"), label("gone")), (None, None, None));
    for text in ["null", "[]", "{}", r#"{"labels": 5}"#, r#"{"labels": []}"#] {
        assert_eq!(self::payload(text).label("phone"), None, "{text}");
    }
}

#[test]
fn actions_take_the_place_of_those_in_the_document() {
    for (text, expected) in [
        (r#"{"a": 1, "actions": [], "b": 2}"#, r#"{"a": 1, "actions": [7], "b": 2}"#),
        (r#"{"actions": [{"x": "]}"}]}"#, r#"{"actions": [7]}"#),
        (r#"{"a": {"actions": 1}} "#, r#"{"a": {"actions": 1}, "actions": [7]}"#),
        (" { } ", r#"{ "actions": [7]}"#),
        ("null", "null"),
    ] {
        assert_eq!(payload(text).with_actions("[7]").concat(), expected, "{text}");
    }
}

#[test]
fn the_limits_are_those_that_are_told() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(Value::read(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(
        Value::read(&nested(DEPTH_MAX + 1)),
        Err(PayloadError::Limit("64 levels of lists and objects"))
    );
    let many = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
    assert!(Value::read(&many(VALUES_MAX)).is_ok());
    assert_eq!(Value::read(&many(VALUES_MAX + 1)), Err(PayloadError::Limit("20,000 values")));
    let long = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    assert!(Value::read(&long(SIZE_MAX)).is_ok());
    assert_eq!(Value::read(&long(SIZE_MAX + 1)), Err(PayloadError::Limit("1 MiB")));
    assert_eq!(Value::read("[1 2]"), Err(PayloadError::Syntax(3)));
}
