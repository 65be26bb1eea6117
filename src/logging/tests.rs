//! The two forms of a line, byte for byte.

use std::time::Duration;

use log::{Level, Log, Metadata};

use super::*;

type Form = fn(&mut dyn Write, SystemTime, &Record<'_>) -> io::Result<()>;

/// The line of a warning with these fields.
fn line(form: Form, message: &str, fields: &[(&str, Value<'_>)]) -> String {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let mut out = Vec::new();
    // One statement: `format_args!` borrows from temporaries of it.
    form(
        &mut out,
        now,
        &Record::builder()
            .level(Level::Warn)
            .target("postrider::worker")
            .args(format_args!("{message}"))
            .key_values(&fields)
            .build(),
    )
    .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_text_line_has_time_level_message_and_fields() {
    let fields = [
        ("id", Value::from("a-1")),
        ("attempt", Value::from(3)),
        ("ok", Value::from(true)),
        ("reason", Value::from("no \"route\" to host")),
        ("empty", Value::from("")),
    ];
    assert_eq!(
        line(write_text, "attempt deferred", &fields),
        "2023-11-14T22:13:20.123Z WARN  attempt deferred id=a-1 attempt=3 ok=true \
         reason=\"no \\\"route\\\" to host\" empty=\"\"\n"
    );
    assert_eq!(line(write_text, "é", &[]), "2023-11-14T22:13:20.123Z WARN  é\n");
}

#[test]
fn a_json_line_has_the_same_and_keeps_the_types() {
    let fields = [
        ("id", Value::from("a-1")),
        ("attempt", Value::from(3)),
        ("below", Value::from(-3)),
        ("ratio", Value::from(0.5)),
        ("ok", Value::from(true)),
        ("level", Value::from("kept apart")),
    ];
    assert_eq!(
        line(write_json, "attempt \"deferred\"", &fields),
        "{\"ts\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\
         \"msg\":\"attempt \\\"deferred\\\"\",\"target\":\"postrider::worker\",\"id\":\"a-1\",\
         \"attempt\":3,\"below\":-3,\"ratio\":0.5,\"ok\":true,\"level_\":\"kept apart\"}\n"
    );
}

#[test]
fn no_value_can_add_a_line_or_a_field() {
    let evil =
        "x\r\n2026-01-01T00:00:00.000Z ERROR forged\u{1b}[2J\u{9b}2J\u{85}\u{2028}\u{202e}\0 a=1";
    let fields = [("reason", Value::from(evil)), ("plain", Value::from("x\u{202e}y"))];
    for form in [write_text as Form, write_json] {
        let line = line(form, evil, &fields);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.trim_end().contains(is_hostile), "{line}");
    }
    let text = line(write_text, evil, &fields);
    assert!(text.contains(" reason=\"x\\r\\n2026-01-01T"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&line(write_json, evil, &fields)).unwrap();
    assert_eq!(json["msg"], evil);
    assert_eq!(json["reason"], evil);
}

#[test]
fn numbers_that_json_has_not_become_null_or_text() {
    let fields = [("nan", Value::from(f64::NAN)), ("big", Value::from(u128::MAX))];
    let json: serde_json::Value = serde_json::from_str(&line(write_json, "m", &fields)).unwrap();
    assert_eq!(json["nan"], serde_json::Value::Null);
    assert!(json["big"].is_number() || json["big"].is_string(), "{json}");
}

#[test]
fn other_crates_are_heard_from_warn_up_and_never_louder_than_we() {
    let heard = |level, target, at| {
        let logger = builder(&LogConfig { format: LogFormat::Text, level }).build();
        logger.enabled(&Metadata::builder().target(target).level(at).build())
    };
    for at in Level::iter() {
        let (ours, others) = ("postrider::worker", "rustls::client");
        assert!(heard(LevelFilter::Trace, ours, at));
        assert_eq!(heard(LevelFilter::Trace, others, at), at <= Level::Warn);
        assert_eq!(heard(LevelFilter::Info, ours, at), at <= Level::Info);
        assert_eq!(heard(LevelFilter::Error, others, at), at <= Level::Error);
    }
}
