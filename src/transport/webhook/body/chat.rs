//! Messages for chat services.
//!
//! Texts are shown as they are: where the service has a form without markup, it is used; else
//! what would be markup, a mention or a link is escaped.

use serde_json::{Value, json};

use super::Texts;
use crate::message::Prepared;

/// Limits of Slack's Block Kit, in characters.
const SLACK_HEADER_MAX: usize = 150;
const SLACK_SECTION_MAX: usize = 3000;
const SLACK_BUTTON_MAX: usize = 75;
/// What a card may hold of a body; Teams refuses messages beyond 28 KB.
const TEAMS_BODY_MAX: usize = 6000;
/// Limits of Discord's embeds, in characters.
const DISCORD_TITLE_MAX: usize = 256;
const DISCORD_BODY_MAX: usize = 4096;

/// A message for a Slack incoming webhook: the title as a header, the body, buttons.
pub(super) fn slack(message: &Prepared, texts: &Texts) -> Value {
    let plain =
        |text: &str, max| json!({"type": "plain_text", "text": cut(text, max), "emoji": false});
    let mut blocks = Vec::new();
    // Slack refuses a block with an empty text.
    if !texts.title.is_empty() {
        blocks.push(json!({"type": "header", "text": plain(&texts.title, SLACK_HEADER_MAX)}));
    }
    if !texts.body.is_empty() {
        blocks.push(json!({"type": "section", "text": plain(&texts.body, SLACK_SECTION_MAX)}));
    }
    let button = |(idx, action): (usize, &crate::message::Action)| {
        json!({
            "type": "button", "action_id": format!("action-{idx}"),
            "text": plain(&action.label, SLACK_BUTTON_MAX), "url": action.url,
        })
    };
    let buttons: Vec<Value> = message.actions.iter().enumerate().map(button).collect();
    if !buttons.is_empty() {
        blocks.push(json!({"type": "actions", "elements": buttons}));
    }
    // Notifications show this one, which has markup.
    let text = texts.title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"text": cut(&text, SLACK_SECTION_MAX), "blocks": blocks})
}

/// An adaptive card for a Teams workflow. Runs of text have no markup, unlike text blocks.
pub(super) fn teams(message: &Prepared, texts: &Texts) -> Value {
    let run = |text: &str, bold: bool| {
        let weight = if bold { "Bolder" } else { "Default" };
        let size = if bold { "Large" } else { "Default" };
        let run = json!({"type": "TextRun", "text": text, "weight": weight, "size": size});
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    let mut body = vec![run(&texts.title, true)];
    let text = cut(&texts.body, TEAMS_BODY_MAX);
    body.extend(text.lines().filter(|line| !line.is_empty()).map(|line| run(line, false)));
    let open = |action: &crate::message::Action| json!({"type": "Action.OpenUrl", "title": action.label, "url": action.url});
    let actions: Vec<Value> = message.actions.iter().map(open).collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard", "version": "1.4", "body": body, "actions": actions,
    });
    let content_type = "application/vnd.microsoft.card.adaptive";
    json!({"type": "message", "attachments": [{"contentType": content_type, "content": card}]})
}

/// A message for a Discord webhook: an embed, and no mention of anyone.
pub(super) fn discord(message: &Prepared, texts: &Texts) -> Value {
    let mut links = String::new();
    for action in &message.actions {
        // Its parentheses would end the link; no label can, being escaped.
        let url = action.url.replace('(', "%28").replace(')', "%29");
        links.extend(["\n[", &discord_text(&action.label), "](", &url, ")"]);
    }
    let room = DISCORD_BODY_MAX.saturating_sub(links.chars().count());
    let body = cut(&discord_text(&texts.body), room);
    let description = if room == 0 { body } else { body + &links };
    json!({
        "embeds": [{
            "title": cut(&discord_text(&texts.title), DISCORD_TITLE_MAX),
            "description": description.trim(),
        }],
        "allowed_mentions": {"parse": []},
    })
}

fn discord_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|<>#-+[]():@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The text, cut to `max` characters with an ellipsis.
fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    // Half an escape would escape what comes next.
    let slashes = kept.len() - kept.trim_end_matches('\\').len();
    kept[..kept.len() - slashes % 2].to_owned() + "…"
}
