//! What a template says about its mails: checked where it is fixed, rendered where it varies.

use lettre::message::Mailbox;

use super::budget::Budget;
use super::escape::{self, Place};
use super::part::Part;
use super::root::Root;
use super::{RenderError, TemplateError};
use crate::message::MailFields;

/// Longest URL in octets: a field has one line, of at most 998 (RFC 5322, 2.1.1).
const URL_MAX: usize = 900;

/// The compiled form of [`MailFields`].
#[derive(Debug)]
pub(super) struct MailParts {
    from_address: Option<String>,
    reply_to: Option<String>,
    unsubscribe_url: Option<Part>,
    thread_key: Option<Part>,
}

impl MailParts {
    pub(super) fn compile(source: &MailFields) -> Result<Self, TemplateError> {
        let part = |name: &str, text: &Option<String>, place| {
            text.as_deref().map(|text| Part::compile(name.into(), text, place)).transpose()
        };
        Ok(Self {
            from_address: address("from_address", source.from_address.as_deref())?,
            reply_to: address("reply_to", source.reply_to.as_deref())?,
            unsubscribe_url: part("unsubscribe_url", &source.unsubscribe_url, Place::Url)?,
            thread_key: part("thread_key", &source.thread_key, Place::Label)?,
        })
    }

    pub(super) fn render(
        &self,
        root: &Root<'_>,
        budget: &Budget,
    ) -> Result<MailFields, RenderError> {
        let url = |part: &Part| {
            let text = part.render(root, budget)?;
            https_url(&text).map_err(|message| part.error_at_start(message))
        };
        let thread_key =
            self.thread_key.as_ref().map(|part| part.render(root, budget)).transpose()?;
        Ok(MailFields {
            from_address: self.from_address.clone(),
            reply_to: self.reply_to.clone(),
            unsubscribe_url: self.unsubscribe_url.as_ref().map(url).transpose()?,
            thread_key: thread_key.filter(|key| !key.is_empty()),
        })
    }
}

/// A mail program posts to the URL without asking, so it must be one that nobody can read or
/// change on the way (RFC 8058, 3.1).
fn https_url(text: &str) -> Result<String, String> {
    let url = escape::finish_url(text)?;
    if !url.to_ascii_lowercase().starts_with("https://") {
        return Err("the URL to unsubscribe must begin with https:// once it is rendered; \
                    check the template and the values in it"
            .into());
    }
    if URL_MAX < url.len() {
        return Err(format!("the URL to unsubscribe is longer than {URL_MAX} octets; shorten it"));
    }
    Ok(url)
}

fn address(part: &str, text: Option<&str>) -> Result<Option<String>, TemplateError> {
    let Some(text) = text else { return Ok(None) };
    if text.parse::<Mailbox>().is_ok() && !text.contains(char::is_control) {
        return Ok(Some(text.to_owned()));
    }
    Err(TemplateError {
        part: part.into(),
        line: 1,
        column: 1,
        message: "this is no sender; write Name <address>, or an address, without handlebars"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::{Context, TIME_MAX, Template, TemplateSource};
    use super::*;
    use crate::config::BrandingConfig;
    use crate::payload::Value;

    fn render(mail: MailFields) -> Result<MailFields, String> {
        let source = TemplateSource {
            title: "t".into(),
            body: "b".into(),
            mail,
            ..TemplateSource::default()
        };
        let template = Template::compile(&source).map_err(|err| err.to_string())?;
        let payload = r#"{"user_id": "a/b?c", "labels": {"base": "http://example.com"}}"#;
        let payload = Value::read(payload).unwrap();
        let context =
            Context { payload: &payload, branding: &BrandingConfig::default(), year: 2026 };
        template
            .render(&context, Instant::now() + TIME_MAX)
            .map(|it| it.mail)
            .map_err(|err| err.to_string())
    }

    #[test]
    fn url_and_key_are_rendered_and_values_escaped_for_their_place() {
        let mail = render(MailFields {
            from_address: Some("Ann <ann@example.com>".into()),
            reply_to: None,
            unsubscribe_url: Some("https://example.com/u/{{user_id}}".into()),
            thread_key: Some("build {{user_id}}".into()),
        });
        let mail = mail.unwrap();
        assert_eq!(mail.unsubscribe_url.as_deref(), Some("https://example.com/u/a%2Fb%3Fc"));
        assert_eq!(mail.thread_key.as_deref(), Some("build a/b?c"));
        assert_eq!(mail.from_address.as_deref(), Some("Ann <ann@example.com>"));
        assert_eq!(render(MailFields::default()).unwrap(), MailFields::default());
    }

    #[test]
    fn an_url_to_unsubscribe_that_is_not_https_does_not_render() {
        let long = format!("https://example.com/{}", "x".repeat(URL_MAX));
        for url in ["http://example.com/u", "mailto:u@example.com", "{{labels.base}}", &long] {
            let mail = MailFields { unsubscribe_url: Some(url.into()), ..MailFields::default() };
            let said = render(mail).unwrap_err();
            assert!(said.contains("unsubscribe"), "{said}");
        }
    }

    #[test]
    fn a_sender_that_is_none_is_refused_when_the_template_is_saved() {
        for text in ["Ann", "{{user_email}}", "a@example.com\r\nBcc: b@example.com", ""] {
            let mail = MailFields { reply_to: Some(text.into()), ..MailFields::default() };
            let said = render(mail).unwrap_err();
            assert!(said.contains("reply_to"), "{said}");
        }
    }
}
