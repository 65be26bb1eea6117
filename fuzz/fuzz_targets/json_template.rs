//! Whatever the values, a template that wants JSON yields it, with the structure that it has.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use postrider::config::BrandingConfig;
use postrider::payload::Payload;
use postrider::render::{Context, JsonTemplate, TIME_MAX};
use serde_json::{Map, Value, json};

fuzz_target!(|texts: (&str, &str)| {
    let (source, value) = texts;
    let payload = json!({"labels": {"x": value}, "data": null});
    let payload = Payload::from(payload);
    let Ok(document) = payload.read() else { return };
    let branding = BrandingConfig::default();
    let deadline = Instant::now() + TIME_MAX;
    let context = Context { payload: &document, branding: &branding, year: 2026 };
    if let Ok(template) = JsonTemplate::compile(source)
        && let Ok(text) = template.render(&context, &[], deadline)
    {
        serde_json::from_str::<Value>(&text).expect("JSON");
    }
    let fixed = r#"{"in": "a{{labels.x}}b", "bare": {{labels.x}}, "list": [{{labels.x}}]}"#;
    let template = JsonTemplate::compile(fixed).expect("a good template");
    let text = template.render(&context, &[], deadline).expect("it has all values");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document.as_object().map(Map::len), Some(3));
    assert_eq!(document["in"], format!("a{value}b"));
    assert!(!document["bare"].is_object() && !document["bare"].is_array());
    assert_eq!(document["list"].as_array().map(Vec::len), Some(1));
});
