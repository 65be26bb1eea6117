//! Tests of the samples, and of the input that the demo sends through them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use super::*;
use crate::config::BrandingConfig;
use crate::payload::Payload;
use crate::render::{Context, TIME_MAX, Template, TemplateSource, markdown};

const NOTIFICATIONS: &str = include_str!("../../../tests/data/notifications.jsonl");

fn lines() -> impl Iterator<Item = Value> {
    NOTIFICATIONS.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn compiled() -> BTreeMap<String, Template> {
    let compile = |sample: SampleTemplate| {
        let SampleTemplate { name, title, body, actions, .. } = sample;
        let template = Template::compile(&TemplateSource {
            title,
            body,
            actions,
            ..TemplateSource::default()
        })
        .unwrap_or_else(|err| panic!("{name}: {err}"));
        (name, template)
    };
    samples().into_iter().map(compile).collect()
}

#[test]
fn there_are_21_samples_with_names_and_ids_of_their_own_and_two_are_off() {
    let samples = samples();
    assert_eq!(samples.len(), 21);
    assert_eq!(samples.iter().map(|sample| sample.id).collect::<BTreeSet<_>>().len(), 21);
    assert_eq!(samples.iter().map(|sample| &sample.name).collect::<BTreeSet<_>>().len(), 21);
    let off = samples.iter().filter(|sample| !sample.enabled_by_default);
    let off: Vec<_> = off.map(|sample| sample.name.as_str()).collect();
    assert_eq!(off, ["Workspace created", "Workspace manually updated"]);
}

#[test]
fn each_sample_renders_with_all_of_the_demo_s_input() {
    let templates = compiled();
    let branding = BrandingConfig {
        app_name: "Postrider".into(),
        logo_url: None,
        base_url: "https://postrider.example.com".into(),
    };
    let mut used = BTreeSet::new();
    for line in lines() {
        let name = line["template"].as_str().unwrap();
        used.insert(name.to_owned());
        let recipient = &line["recipient"];
        let user_name = recipient["name"].as_str().filter(|name| !name.is_empty());
        let payload = json!({
            "_version": "1.2",
            "notification_name": name,
            "user_id": recipient["id"],
            "user_email": recipient["email"],
            "user_name": user_name.or(recipient["username"].as_str()),
            "user_username": recipient["username"],
            "labels": line.get("labels").cloned().unwrap_or_else(|| json!({})),
            "data": line.get("data"),
            "targets": line.get("targets").cloned().unwrap_or_else(|| json!([])),
        });
        let payload = Payload::from(payload);
        let document = payload.read().unwrap();
        let context = Context { payload: &document, branding: &branding, year: 2026 };
        let rendered = templates[name]
            .render(&context, Instant::now() + TIME_MAX)
            .unwrap_or_else(|err| panic!("{line}: {err}"));
        let title = markdown::to_plain(&rendered.title);
        assert!(!title.is_empty() && !title.contains('\n'), "{title:?}");
        assert!(!markdown::to_plain(&rendered.body).is_empty());
        let html = markdown::to_html(&rendered.body);
        assert!(!html.contains("<script") && !html.contains("href=\"https://evil"), "{html}");
        let mut urls = rendered.actions.iter().map(|action| &action.url);
        assert!(urls.all(|url| url.starts_with("https://postrider.example.com")));
    }
    assert_eq!(used, templates.into_keys().collect(), "each kind is in the input");
}

#[test]
fn the_demo_s_input_says_what_becomes_of_each_line() {
    let mut count = 0;
    let mut seen = BTreeSet::new();
    let off = ["Workspace created", "Workspace manually updated"];
    for mut line in lines() {
        count += 1;
        let expect = line.as_object_mut().unwrap().remove("expect").unwrap();
        let disabled = off.contains(&line["template"].as_str().unwrap());
        assert_eq!(expect == "disabled", disabled, "{line}");
        let key = line.get("dedupe_key").map_or_else(|| line.to_string(), Value::to_string);
        assert_eq!(!seen.insert(key), expect == "duplicate", "{line}");
        if let Some(states) = expect.as_object() {
            let methods = line["methods"].as_array().unwrap().iter();
            let methods: BTreeSet<_> = methods.map(|method| method.as_str().unwrap()).collect();
            assert_eq!(methods, states.keys().map(String::as_str).collect(), "{line}");
            assert!(states.values().all(|state| state == "sent" || state == "permanent_failure"));
        }
    }
    assert!(220 <= count, "{count}");
}
