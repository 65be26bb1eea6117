//! What notifications of one call have in common: said once, and of each only which it is.

use std::collections::HashMap;

use serde::Serialize;

use super::Notification;

/// What notifications have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(super) struct Kind<'a> {
    template: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    methods: &'a [String],
    endpoint: Option<&'a str>,
    created_by: &'a str,
    priority: u8,
    max_attempts: Option<u32>,
}

impl<'a> Kind<'a> {
    fn of(notification: &'a Notification) -> Self {
        Self {
            template: &notification.template,
            methods: &notification.methods,
            endpoint: notification.endpoint.as_deref(),
            created_by: &notification.created_by,
            priority: notification.priority,
            max_attempts: notification.max_attempts,
        }
    }

    /// Whether the database can read its values, whatever it says of them.
    pub(super) fn is_readable(&self) -> bool {
        let methods = self.methods.iter().map(String::as_str);
        let mut texts = methods.chain([self.template, self.created_by]).chain(self.endpoint);
        !texts.any(|text| text.contains('\0'))
            && self.max_attempts.is_none_or(|n| i32::try_from(n).is_ok())
    }
}

/// The different kinds of notifications.
#[derive(Debug, Default)]
pub(super) struct InCommon<'a> {
    pub(super) kinds: Vec<Kind<'a>>,
    /// Which of them each notification is.
    pub(super) nos: Vec<usize>,
    numbers: HashMap<Kind<'a>, usize>,
}

impl<'a> InCommon<'a> {
    pub(super) fn push(&mut self, notification: &'a Notification) {
        let (kind, kinds) = (Kind::of(notification), &mut self.kinds);
        let no = match self.nos.last() {
            // As almost always.
            Some(&last) if kinds[last] == kind => last,
            _ => *self.numbers.entry(kind).or_insert_with(|| {
                kinds.push(kind);
                kinds.len() - 1
            }),
        };
        self.nos.push(no);
    }
}
