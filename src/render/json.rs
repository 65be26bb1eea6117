//! Templates that yield a JSON document, for endpoints with a form of their own.

use std::time::Instant;

use super::budget::Budget;
use super::escape::{self, Place};
use super::part::Part;
use super::{Context, RenderError, Root, TIME_MAX, TemplateError};
use crate::config::BrandingConfig;
use crate::payload::Value;

/// A JSON document with handlebars in it. Values are escaped for the place in the document where
/// they land (`escape::finish_json`), so that none can change its structure.
#[derive(Debug)]
pub struct JsonTemplate(Part);

impl JsonTemplate {
    /// Checks and compiles a template.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, also that it yields no JSON where its values are
    /// empty.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let part = Part::compile("endpoint".into(), source, Place::Json)?;
        let branding = BrandingConfig::default();
        let nothing = Value::read(r#"{"labels": {}, "data": {}}"#).unwrap_or(Value::Null);
        let nothing = Context { payload: &nothing, branding: &branding, year: 2026 };
        let budget = Budget::until(Instant::now() + TIME_MAX);
        // What fails without values says nothing; what yields a text without them must be JSON.
        if let Ok(text) = part.render_leniently(&Root::new(nothing), &budget) {
            escape::finish_json(&text).map_err(|message| {
                let (part, line, column) = ("endpoint".into(), 1, 1);
                TemplateError { part, line, column, message }
            })?;
        }
        Ok(Self(part))
    }

    /// Renders the document. `fields` come beside those of the payload, and before them.
    ///
    /// # Errors
    ///
    /// As for [`Template::render`](super::Template::render); and the result is no JSON.
    pub fn render(
        &self,
        context: &Context<'_>,
        fields: &[(&'static str, Value<'_>)],
        deadline: Instant,
    ) -> Result<String, RenderError> {
        let budget = Budget::until(deadline);
        let text = self.0.render(&Root::with(*context, fields), &budget)?;
        escape::finish_json(&text).map_err(|message| self.0.error_at_start(message))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::payload::Payload;

    fn render(source: &str, label: &Value) -> Result<Value, RenderError> {
        let payload = Payload::from(json!({"labels": {"x": label}, "data": null}));
        let payload = payload.read().unwrap();
        let branding = BrandingConfig::default();
        let context = Context { payload: &payload, branding: &branding, year: 2026 };
        let template = JsonTemplate::compile(source).unwrap();
        let text = template.render(&context, &[], Instant::now() + TIME_MAX)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    const NASTY: [&str; 8] = [
        "\"",
        "\\",
        "\", \"admin\": true, \"a\": \"",
        "1, 2",
        "a\nb\r\0\u{1}\u{2}c",
        "{{x}}",
        "\u{2028}é😱",
        "",
    ];

    #[test]
    fn no_value_can_end_its_string_or_add_to_the_document() {
        for value in NASTY {
            let document = render(r#"{"t": "<{{labels.x}}>"}"#, &json!(value)).unwrap();
            assert_eq!(document, json!({"t": format!("<{value}>")}));
            for source in [r#"{"t": {{labels.x}}}"#, r#"{"t": {{code labels.x}}}"#] {
                assert_eq!(render(source, &json!(value)).unwrap(), json!({"t": value}));
            }
            let keyed = render(r#"{"{{labels.x}}": 1}"#, &json!(value)).unwrap();
            assert_eq!(keyed, json!({value: 1}));
        }
    }

    #[test]
    fn a_number_outside_of_a_string_is_a_number_and_other_text_a_string() {
        let source = r#"[{{labels.x}}, "{{labels.x}}"]"#;
        for (value, bare) in [
            (json!(5), json!(5)),
            (json!("-1.5e3"), serde_json::from_str("-1.5e3").unwrap()),
            (json!(true), json!(true)),
            (json!(" 5"), json!(" 5")),
            (json!("5]"), json!("5]")),
            (json!("[5]"), json!("[5]")),
            (json!("NaN"), json!("NaN")),
        ] {
            assert_eq!(render(source, &value).unwrap()[0], bare, "{value}");
        }
    }

    #[test]
    fn a_template_that_yields_no_json_is_refused_when_it_is_saved() {
        for source in ["", "{", r#"{"a": "{{labels.x}}"#, r#"{"a": 1,}"#, "[1] 2", "{{labels.x}} x"]
        {
            let refused = JsonTemplate::compile(source).unwrap_err();
            assert!(refused.message.contains("yields no JSON"), "{source}: {refused}");
        }
        assert!(JsonTemplate::compile(r#"{"a": "\\{{labels.x}}"}"#).is_err());
        JsonTemplate::compile(
            r#"{"a": [{{#each data.l}}{{#if @index}},{{/if}}{{this}}{{/each}}]}"#,
        )
        .unwrap();
    }

    #[test]
    fn a_missing_value_is_an_error_and_not_a_hole() {
        let refused = render(r#"{"a": "{{labels.gone}}"}"#, &json!("")).unwrap_err();
        assert!(refused.to_string().contains("labels.gone"), "{refused}");
    }
}
