//! No template kills the process, and no value gets markup past the escaping.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use postrider::config::BrandingConfig;
use postrider::message::Action;
use postrider::payload::Payload;
use postrider::render::{Context, TIME_MAX, Template, TemplateSource, markdown};
use serde_json::json;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (source, url, value) = texts;
    let payload = json!({"labels": {"x": value}, "data": {"list": [value, 1, null]}});
    let payload = Payload::from(payload);
    let Ok(document) = payload.read() else { return };
    let branding = BrandingConfig::default();
    let deadline = Instant::now() + TIME_MAX;
    let context = Context { payload: &document, branding: &branding, year: 2026 };
    let actions = vec![Action { label: source.into(), url: url.into() }];
    let template = TemplateSource {
        title: source.into(),
        body: source.into(),
        actions,
        ..TemplateSource::default()
    };
    if let Ok(template) = Template::compile(&template)
        && let Ok(rendered) = template.render(&context, deadline)
    {
        markdown::to_html(&rendered.body);
        markdown::to_plain(&rendered.body);
    }
    let fixed = TemplateSource {
        title: "{{labels.x}}".into(),
        body: "a {{labels.x}} **b {{code labels.x}}** c".into(),
        actions: vec![Action {
            label: "{{labels.x}}".into(),
            url: "https://example.com/{{labels.x}}".into(),
        }],
        ..TemplateSource::default()
    };
    let template = Template::compile(&fixed).expect("a good template");
    let rendered = template.render(&context, deadline).expect("it has all values");
    let html = markdown::to_html(&rendered.body);
    for tag in ["<script", "<img", "<a ", "<h", "<ul", "<ol", "<blockquote", "<pre", "<hr"] {
        assert!(!html.contains(tag), "{html}");
    }
    assert!(rendered.actions[0].url.starts_with("https://example.com/"));
});
