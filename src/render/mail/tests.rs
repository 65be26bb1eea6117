//! Tests of subject and bodies: what they hold, and what gets into them.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::message::{Action, MailFields, MessageId};

const EVIL: &str = "<script>alert(1)</script>\" onload=\"x\r\nBcc: v@example.com\u{202e}";

fn message(title: &str, body: &str) -> Prepared {
    Prepared {
        id: MessageId(Uuid::from_u128(1)),
        notification_id: Uuid::from_u128(2),
        template_id: Uuid::from_u128(3),
        template_name: "Test".into(),
        attempt: 1,
        recipient: Recipient {
            id: "u1".into(),
            email: Some("ann@example.com".into()),
            name: Some("Ann Lee".into()),
            username: Some("ann".into()),
        },
        endpoint: None,
        endpoint_settings: None,
        title: title.into(),
        body: body.into(),
        actions: vec![
            Action { label: "Open".into(), url: "https://app.example.com/?a=1&b=2".into() },
            Action { label: "Write".into(), url: "mailto:ops@example.com".into() },
        ],
        mail: MailFields::default(),
        targets: Vec::new(),
        payload: Value::Null.into(),
        created_at: UNIX_EPOCH + Duration::from_hours(492_324),
    }
}

fn branding() -> BrandingConfig {
    BrandingConfig {
        app_name: "Acme & Co".into(),
        logo_url: Some("https://app.example.com/logo.png".into()),
        base_url: "https://app.example.com".into(),
    }
}

/// Tags of a document, comments left out, with their attributes: `a href="..."`.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, tail)) = rest.split_once('<') {
        let (end, skip) = if tail.starts_with("!--") { ("-->", true) } else { (">", false) };
        let (tag, tail) = tail.split_once(end).unwrap();
        if !skip {
            tags.push(tag.to_owned());
        }
        rest = tail;
    }
    tags
}

fn attributes<'a>(tags: &'a [String], name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    let value = |tag: &'a String| tag.split_once(&start)?.1.split('"').next();
    tags.iter().filter_map(value).collect()
}

fn text(message: &Prepared, branding: &BrandingConfig) -> String {
    Texts::of(message).text(branding)
}

fn html(message: &Prepared, branding: &BrandingConfig) -> String {
    Texts::of(message).html(branding)
}

#[test]
fn the_subject_is_the_title_as_plain_text_on_one_line() {
    assert_eq!(subject(&message("**a** \\<b\\> &amp; c", "")), "a <b> & c");
    assert_eq!(subject(&message("a\nb\n\nc\u{202e}\u{7}", "")), "a b  c");
    assert_eq!(subject(&message("", "")), "Test");
    let long = subject(&message(&"é".repeat(3000), ""));
    assert_eq!((long.chars().count(), long.ends_with('…')), (2000, true));
}

#[test]
fn c23_a_line_break_in_a_value_does_not_end_the_subject() {
    let value = escape::markdown("x\r\nBcc: v@example.com\r\n\r\nfake body");
    let subject = subject(&message(&format!("Hi {value}\n"), ""));
    assert_eq!(subject, "Hi x Bcc: v@example.com  fake body");
}

#[test]
fn c22_a_line_break_in_a_name_does_not_end_the_greeting() {
    for name in ["Ann\r\nBcc: v", "Ann\nBcc: v", "Ann\rBcc: v", "Ann\0 Bcc: v"] {
        let mut message = message("t", "b");
        message.recipient.name = Some(name.into());
        assert!(text(&message, &branding()).starts_with("Hi Ann Bcc: v,\n"), "{name:?}");
    }
}

#[test]
fn the_text_has_greeting_body_actions_and_footer() {
    let text = text(&message("t", "**a**\n\n- b\n- [c](https://example.com/)"), &branding());
    assert_eq!(
        text,
        "Hi Ann Lee,\n\na\n\n- b\n- c (https://example.com/)\n\n\
         Open: https://app.example.com/?a=1&b=2\nWrite: mailto:ops@example.com\n\n\
         -- \nAcme & Co\nhttps://app.example.com\n"
    );
}

#[test]
fn what_is_not_set_leaves_no_hole() {
    let mut message = message("t", "b");
    message.actions.clear();
    message.recipient.name = Some(" ".into());
    assert!(text(&message, &BrandingConfig::default()).starts_with("Hi ann,\n"));
    message.recipient.username = None;
    let text = text(&message, &BrandingConfig::default());
    assert_eq!(text, "Hello,\n\nb\n\n-- \nPostrider\n");
    let tags = tags(&html(&message, &BrandingConfig::default()));
    assert!(!tags.iter().any(|tag| tag.starts_with("a ") || tag.starts_with("img")), "{tags:?}");
}

#[test]
fn the_html_has_a_heading_a_button_for_each_action_and_balanced_tags() {
    let html = html(&message("**New** build", "a\n\n- b\n"), &branding());
    let tags = tags(&html);
    assert!(html.contains(">New build</h1>"));
    assert!(html.contains("Hi Ann Lee,"));
    assert!(html.contains("&copy; 2026 Acme &amp; Co"));
    assert_eq!(
        attributes(&tags, "href"),
        [
            "https://app.example.com/?a&#x3D;1&amp;b&#x3D;2",
            "mailto:ops@example.com",
            "https://app.example.com"
        ]
    );
    assert_eq!(attributes(&tags, "src"), ["https://app.example.com/logo.png"]);
    for name in ["html", "head", "body", "table", "tr", "td", "div", "p", "a", "h1", "ul", "li"] {
        let opened = tags.iter().filter(|tag| tag.split_whitespace().next() == Some(name)).count();
        let closed = tags.iter().filter(|tag| **tag == format!("/{name}")).count();
        assert_eq!(opened, closed, "{name}");
    }
}

#[test]
fn no_value_adds_a_tag_an_attribute_or_a_line() {
    let mut evil = message(&escape::markdown(EVIL), &escape::markdown(EVIL));
    evil.recipient.name = Some(EVIL.into());
    evil.template_name = EVIL.into();
    let mut branding = branding();
    let harmless = tags(&html(&message("t", "b"), &branding));
    branding.app_name = EVIL.into();
    evil.actions[0].label = EVIL.into();
    let html = html(&evil, &branding);
    let tags: Vec<_> = tags(&html).into_iter().filter(|tag| !tag.starts_with("img")).collect();
    let harmless: Vec<_> = harmless.into_iter().filter(|tag| !tag.starts_with("img")).collect();
    assert_eq!(tags, harmless);
    assert!(!html.contains("<script"), "{html}");
    assert!(!subject(&evil).contains(['\r', '\n', '\u{202e}']));
    let text = text(&evil, &branding);
    assert!(!text.contains("\nBcc") && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn a_logo_or_base_url_that_is_no_web_address_is_left_out() {
    let branding = BrandingConfig {
        logo_url: Some("javascript:alert(1)".into()),
        base_url: "javascript:alert(1)".into(),
        ..branding()
    };
    assert!(!html(&message("t", "b"), &branding).contains("javascript"));
}

#[test]
fn marks_that_come_to_many_times_their_length_make_no_huge_mail() {
    let code = "`a` ".repeat(60_000);
    for body in [">".repeat(200_000) + "a", code, "&<".repeat(100_000)] {
        let message = message("t", &body);
        let html = html(&message, &branding());
        assert!(html.len() < 2 << 20, "{:.10}: {}", body, html.len());
        assert!(!html.contains("&<"));
    }
    let html = html(&message("t", &">".repeat(200_000)), &branding());
    assert!(html.contains("white-space:pre-wrap"), "its form is given up");
}
