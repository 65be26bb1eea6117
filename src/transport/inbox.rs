//! The in-app inbox. No I/O of its own: the receipt carries the entry, and the commit of the
//! outcome writes it, so an inbox delivery is exactly once.

use crate::message::{InboxEntry, Prepared};
use crate::outcome::{Failure, Receipt};
use crate::render::markdown::to_plain;
use crate::transport::{Deadline, Transport};

/// Turns a message into an inbox entry. Never fails, never waits.
#[derive(Debug, Clone, Copy)]
pub struct Inbox;

impl Transport for Inbox {
    fn deliver(&self, message: &Prepared, _deadline: Deadline) -> Result<Receipt, Failure> {
        let entry = InboxEntry {
            title: to_plain(&message.title),
            content: to_plain(&message.body),
            actions: message.actions.clone(),
        };
        Ok(Receipt { inbox: Some(entry), ..Receipt::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::message::{Action, MailFields, MessageId, Recipient};

    #[test]
    fn c77_the_entry_has_plain_text_and_every_action() {
        let actions = vec![Action { label: "Open".into(), url: "https://example.com/1".into() }];
        let message = Prepared {
            id: MessageId(Uuid::from_u128(1)),
            notification_id: Uuid::from_u128(2),
            template_id: Uuid::from_u128(3),
            template_name: "welcome".into(),
            attempt: 1,
            recipient: Recipient { id: "u1".into(), ..Recipient::default() },
            endpoint: None,
            endpoint_settings: None,
            title: "R&D *x*".into(),
            body: "See <b>this</b> & **that**".into(),
            actions: actions.clone(),
            mail: MailFields::default(),
            targets: vec!["a".into(), "b".into()],
            payload: json!({}).into(),
            created_at: SystemTime::UNIX_EPOCH,
        };
        let receipt = Inbox.deliver(&message, Deadline::after(Duration::from_secs(1))).unwrap();
        let entry = receipt.inbox.unwrap();
        assert_eq!(entry.title, to_plain("R&D *x*"));
        assert_eq!(entry.content, to_plain("See <b>this</b> & **that**"));
        assert_eq!(entry.actions, actions);
        assert!(!entry.title.contains("&amp;"), "{}", entry.title);
    }
}
