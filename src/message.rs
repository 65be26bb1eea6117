//! Words of the domain that everything else is built from. Plain data.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::endpoint::EndpointSettings;
use crate::payload::Payload;

/// Id of a message, a UUID version 7. The same on every attempt and every repeat, so that a
/// receiver can drop a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// The application's own id of the person; preferences and the inbox go by it.
    pub id: String,
    /// Address for e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// User name; stands in for a missing display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// A button under the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Text of the button; in a template, handlebars.
    pub label: String,
    /// Where it leads, http, https or mailto; in a template, handlebars.
    pub url: String,
}

/// What a template says about its mails, beside their text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MailFields {
    /// Who it is from, `Name <address>` or an address; `None`: `smtp.from`.
    pub from_address: Option<String>,
    /// Where answers go, in the same form.
    pub reply_to: Option<String>,
    /// https URL that unsubscribes by one POST (RFC 8058); in a template, handlebars.
    pub unsubscribe_url: Option<String>,
    /// Mails with the same key are one conversation; in a template, handlebars.
    pub thread_key: Option<String>,
}

/// A message rendered for its transport: all that a delivery needs.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Id of the message.
    pub id: MessageId,
    /// Id shared by the messages of one notification.
    pub notification_id: Uuid,
    /// Id of the template.
    pub template_id: Uuid,
    /// Name of the template.
    pub template_name: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Who is told.
    pub recipient: Recipient,
    /// URL of the webhook, where the message or its template names one.
    pub endpoint: Option<String>,
    /// Settings of the endpoint, where it is a named one; `endpoint` is its URL then.
    pub endpoint_settings: Option<Arc<EndpointSettings>>,
    /// Rendered title, Markdown.
    pub title: String,
    /// Rendered body, Markdown.
    pub body: String,
    /// Rendered actions.
    pub actions: Vec<Action>,
    /// For mail; rendered.
    pub mail: MailFields,
    /// Ids of the objects involved.
    pub targets: Vec<String>,
    /// Payload document as stored, values unescaped. The rendered actions are in `actions`.
    pub payload: Payload,
    /// When the message was enqueued.
    pub created_at: SystemTime,
}

/// An entry of the in-app inbox. Its id is the message's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InboxEntry {
    /// Plain text.
    pub title: String,
    /// Plain text.
    pub content: String,
    /// Buttons.
    pub actions: Vec<Action>,
}
