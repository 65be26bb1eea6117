//! What does it cost to turn a payload and a template into a message, and that into a mail?
//!
//! By the size of the body: decoding the payload document, rendering title, body and action with a compiled
//! template, compiling one, and the two bodies of the mail.

use std::hint::black_box;
use std::time::{Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use postrider::config::BrandingConfig;
use postrider::message::{Action, MailFields, MessageId, Prepared, Recipient};
use postrider::payload::Payload;
use postrider::render::mail::Texts;
use postrider::render::{Context, Rendered, TIME_MAX, Template, TemplateSource};
use serde_json::value::RawValue;
use uuid::Uuid;

const PAYLOAD: &str = r#"{"_version": "1.2", "notification_name": "Workspace Deleted",
    "notification_template_id": "f517da0b-cdc9-410f-ab89-a86107c420ed", "user_id": "r1",
    "user_email": "ada@example.com", "user_name": "Ada Lovelace", "user_username": "ada", "actions": [],
    "labels": {"name": "analytical-engine", "reason": "autodeleted due to dormancy", "initiator": "autobuild"},
    "data": null, "targets": []}"#;
const PARAGRAPH: &str = "Your workspace **{{labels.name}}** was deleted.\n\n\
    The reason was: **{{labels.reason}}** ({{labels.initiator}}).\n\n";
/// Paragraphs of the body, twice.
const SIZES: [usize; 2] = [1, 50];

fn source(paragraphs: usize) -> TemplateSource {
    TemplateSource {
        title: "Workspace {{labels.name}} deleted".into(),
        body: PARAGRAPH.repeat(paragraphs),
        actions: vec![Action {
            label: "View workspaces".into(),
            url: "{{base_url}}/workspaces".into(),
        }],
        mail: MailFields::default(),
    }
}

fn branding() -> BrandingConfig {
    BrandingConfig { base_url: "https://app.example.com".into(), ..BrandingConfig::default() }
}

fn payload() -> Payload {
    serde_json::from_str::<Box<RawValue>>(PAYLOAD).expect("it is JSON").into()
}

fn prepared(rendered: Rendered) -> Prepared {
    let Rendered { title, body, actions, mail } = rendered;
    Prepared {
        id: MessageId(Uuid::nil()),
        notification_id: Uuid::nil(),
        template_id: Uuid::nil(),
        template_name: "Workspace Deleted".into(),
        attempt: 1,
        recipient: Recipient { id: "r1".into(), name: Some("Ada".into()), ..Recipient::default() },
        endpoint: None,
        endpoint_settings: None,
        title,
        body,
        actions,
        mail,
        targets: Vec::new(),
        payload: payload(),
        created_at: SystemTime::UNIX_EPOCH,
    }
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("payload");
    group.throughput(Throughput::Bytes(PAYLOAD.len() as u64));
    group.bench_function("decode", |bencher| {
        let payload = payload();
        bencher.iter(|| drop(black_box(&payload).read().expect("it is JSON")));
    });
}

fn render(criterion: &mut Criterion) {
    let (payload, branding) = (payload(), branding());
    let document = payload.read().expect("it is JSON");
    let context = Context { payload: &document, branding: &branding, year: 2030 };
    let mut group = criterion.benchmark_group("render");
    for size in SIZES {
        let source = source(size);
        let template = Template::compile(&source).expect("a good template");
        let render = || {
            let deadline = Instant::now() + TIME_MAX;
            template.render(black_box(&context), deadline).expect("all variables are there")
        };
        group.bench_function(BenchmarkId::new("compile", size), |bencher| {
            bencher.iter(|| Template::compile(black_box(&source)));
        });
        group.bench_function(BenchmarkId::new("plain", size), |bencher| bencher.iter(render));
        let message = prepared(render());
        group.bench_function(BenchmarkId::new("mail text", size), |bencher| {
            bencher.iter(|| Texts::of(black_box(&message)).text(&branding));
        });
        group.bench_function(BenchmarkId::new("mail html", size), |bencher| {
            bencher.iter(|| Texts::of(black_box(&message)).html(&branding));
        });
    }
}

criterion_group!(benches, decode, render);
criterion_main!(benches);
