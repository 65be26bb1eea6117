//! Each format: its form, and that no text of a message breaks or bends it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::message::{Action, MailFields, Recipient};

/// Text that means something to somebody.
const NASTY: &str = "<!channel> @everyone [x](https://evil.example) *b* \\ \" `c` é😱\u{2028}";

fn message() -> Prepared {
    Prepared {
        id: MessageId(Uuid::from_u128(1)),
        notification_id: Uuid::from_u128(2),
        template_id: Uuid::from_u128(3),
        template_name: "build-failed".into(),
        attempt: 1,
        recipient: Recipient { id: "u1".into(), ..Recipient::default() },
        endpoint: None,
        endpoint_settings: None,
        title: "Build of **engine** failed".into(),
        body: "It stopped.\n\nAt link.".into(),
        actions: vec![Action { label: "Open".into(), url: "https://example.com/b/1".into() }],
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: json!({"_version": "1.2", "labels": {"x": NASTY}}).into(),
        created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    }
}

/// The same with a title, body and label that have [`NASTY`] in them, as a render leaves it.
fn nasty() -> Prepared {
    let escaped: String = NASTY
        .chars()
        .flat_map(|c| c.is_ascii_punctuation().then_some('\\').into_iter().chain([c]))
        .collect();
    let actions = vec![Action { label: NASTY.into(), url: "https://example.com/(1)".into() }];
    Prepared { title: escaped.clone(), body: escaped, actions, ..message() }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn encoded(layout: &Layout, message: &Prepared) -> (&'static str, Value) {
    let branding = BrandingConfig::default();
    let Encoded { content_type, octets } = encode(layout, message, &branding, soon()).unwrap();
    (content_type, serde_json::from_slice(&octets).unwrap())
}

fn known(format: Format, message: &Prepared) -> Value {
    encoded(&Layout::Known(format), message).1
}

#[test]
fn a_cloud_event_is_an_envelope_around_our_document() {
    let layout = Layout::Known(Format::CloudEvents);
    let (content_type, event) = encoded(&layout, &message());
    assert_eq!(content_type, "application/cloudevents+json; charset=utf-8");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["id"], Uuid::from_u128(1).to_string());
    assert_eq!(event["type"], "postrider.build-failed");
    assert_eq!(event["source"], "urn:postrider");
    assert_eq!(event["subject"], "u1");
    assert_eq!(event["time"], "2023-11-14T22:13:20Z");
    assert_eq!(event["data"], known(Format::Standard, &message()));
}

#[test]
fn a_slack_message_has_title_body_and_buttons() {
    let document = known(Format::Slack, &message());
    assert_eq!(document["text"], "Build of engine failed");
    let blocks = document["blocks"].as_array().unwrap();
    let kinds: Vec<&Value> = blocks.iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["header", "section", "actions"]);
    assert_eq!(blocks[1]["text"]["text"], "It stopped.\n\nAt link.");
    assert_eq!(blocks[2]["elements"][0]["url"], "https://example.com/b/1");
}

#[test]
fn text_of_a_message_is_no_markup_and_no_mention_in_slack() {
    let document = known(Format::Slack, &nasty());
    let text = document["text"].as_str().unwrap();
    assert!(text.starts_with("&lt;!channel&gt; @everyone"), "{text}");
    for block in &document["blocks"].as_array().unwrap()[..2] {
        assert_eq!(block["text"]["type"], "plain_text");
        assert!(block["text"]["text"].as_str().unwrap().contains("<!channel>"));
    }
}

#[test]
fn a_slack_message_without_texts_has_no_empty_block() {
    let bare =
        Prepared { title: String::new(), body: String::new(), actions: Vec::new(), ..message() };
    assert_eq!(known(Format::Slack, &bare)["blocks"], json!([]));
}

#[test]
fn a_teams_card_shows_texts_as_they_are() {
    let document = known(Format::Teams, &nasty());
    let attachment = &document["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &attachment["content"];
    assert_eq!((&card["type"], &card["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    for block in card["body"].as_array().unwrap() {
        assert_eq!(block["type"], "RichTextBlock");
        let text = block["inlines"][0]["text"].as_str().unwrap();
        assert!(text.contains("[x](https://evil.example)"), "{text}");
    }
    assert_eq!(card["actions"][0]["url"], "https://example.com/(1)");
}

#[test]
fn a_discord_message_mentions_nobody_and_links_only_its_actions() {
    let document = known(Format::Discord, &nasty());
    assert_eq!(document["allowed_mentions"], json!({"parse": []}));
    let embed = &document["embeds"][0];
    let description = embed["description"].as_str().unwrap();
    assert!(description.contains(r"\[x\]\(https\://evil.example\)"), "{description}");
    assert!(description.ends_with("](https://example.com/%281%29)"), "{description}");
    assert!(embed["title"].as_str().unwrap().starts_with(r"\<!channel\> \@everyone"));
}

#[test]
fn long_texts_are_cut_to_what_the_service_takes() {
    let (title, body) = ("t".repeat(1000), "[".repeat(100_000));
    let long = Prepared { title, body: body.replace('[', "\\["), ..message() };
    let length = |value: &Value| value.as_str().unwrap().chars().count();
    let slack = known(Format::Slack, &long);
    assert_eq!(length(&slack["blocks"][0]["text"]["text"]), 150);
    assert_eq!(length(&slack["blocks"][1]["text"]["text"]), 3000);
    let embed = &known(Format::Discord, &long)["embeds"][0];
    assert_eq!(length(&embed["title"]), 256);
    assert!(length(&embed["description"]) <= 4096);
    assert!(known(Format::Teams, &long).to_string().len() < 28_000);
}

#[test]
fn a_template_sees_the_payload_and_our_fields_and_no_label_breaks_it() {
    let source = r#"{"id": "{{msg_id}}", "text": "{{title}}: {{labels.x}}", "n": {{labels.x}}}"#;
    let layout = Layout::Template(Box::new(JsonTemplate::compile(source).unwrap()));
    let (content_type, document) = encoded(&layout, &message());
    assert_eq!(content_type, "application/json");
    assert_eq!(document["id"], Uuid::from_u128(1).to_string());
    assert_eq!(document["text"], format!("Build of engine failed: {NASTY}"));
    assert_eq!(document["n"], NASTY);
}

#[test]
fn a_template_that_wants_what_is_not_there_fails_the_message_for_good() {
    let template = JsonTemplate::compile(r#"{"x": "{{labels.gone}}"}"#).unwrap();
    let layout = Layout::Template(Box::new(template));
    let failure = encode(&layout, &message(), &BrandingConfig::default(), soon()).err().unwrap();
    assert_eq!(failure.code, "render");
    assert!(failure.reason.contains("labels.gone"), "{failure}");
}

#[test]
fn the_payload_is_sent_as_the_text_that_is_stored_with_the_rendered_actions() {
    let stored = r#"{"data": {"$serde_json::private::Number": "x", "$serde_json::private::RawValue": "[[1]]",
        "n": [9007199254740993, 1e400, 0.10]}, "labels": {}, "actions": [], "_version": "1.2"}"#;
    let payload = serde_json::value::RawValue::from_string(stored.into()).unwrap().into();
    let message = Prepared { payload, ..message() };
    let actions = r#""actions": [{"label":"Open","url":"https://example.com/b/1"}]"#;
    let sent = stored.replace(r#""actions": []"#, actions);
    for format in [Format::Standard, Format::CloudEvents] {
        let branding = BrandingConfig::default();
        let encoded = encode(&Layout::Known(format), &message, &branding, soon()).unwrap();
        let text = String::from_utf8(encoded.octets).unwrap();
        assert!(text.contains(&format!("\"payload\":{sent},\"title\":")), "{text}");
    }
}

#[test]
fn a_list_or_an_object_is_itself_in_the_template_of_an_endpoint() {
    let payload =
        json!({"_version": "1.2", "labels": {"x": NASTY}, "data": {"l": [1, {"k": NASTY}]}});
    let message = Prepared { payload: payload.clone().into(), ..message() };
    let source = r#"{"o": {{data}}, "l": {{data.l}}, "text": "{{data}}", "{{labels}}": 1}"#;
    let layout = Layout::Template(Box::new(JsonTemplate::compile(source).unwrap()));
    let document = encoded(&layout, &message).1;
    assert_eq!((&document["o"], &document["l"]), (&payload["data"], &payload["data"]["l"]));
    assert_eq!(document["text"], payload["data"].to_string());
    assert_eq!(document[payload["labels"].to_string()], 1);
}
