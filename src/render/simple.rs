//! Texts whose tags are plain names, as those of most templates are, rendered without handlebars.
//!
//! The result is the same, for a fraction of the cost. Whatever is out of the ordinary (a name that is
//! missing, a value that is no string, a long text) is left to handlebars: one place decides what becomes of it.

use handlebars::template::TemplateElement;
use handlebars::{Output, Template};

use super::Context;
use super::helpers::{self, GLOBALS};

/// Text and names in turn.
#[derive(Debug)]
pub(super) struct Simple(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    /// The names from the root of the document to a value.
    Value(Vec<String>),
}

impl Simple {
    /// `None` where a tag is more than a name.
    pub(super) fn of(template: &Template) -> Option<Self> {
        let pieces = template.elements.iter().map(|element| match element {
            TemplateElement::RawString(text) => Some(Piece::Text(text.clone())),
            TemplateElement::Expression(tag) if tag.params.is_empty() && tag.hash.is_empty() => {
                path(tag.name.as_name()?).map(Piece::Value)
            }
            _ => None,
        });
        pieces.collect::<Option<_>>().map(Self)
    }

    /// Writes the text, its values by `escape`; `None` where handlebars has to see to it.
    pub(super) fn render(
        &self,
        context: &Context<'_>,
        escape: fn(&str) -> String,
        out: &mut dyn Output,
    ) -> Option<()> {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => out.write(text).ok(),
            Piece::Value(path) => out.write(&escape(find(context, path)?)).ok(),
        })
    }
}

/// The parts of a name such as `labels.name`, if it is made of nothing but identifiers and dots.
fn path(name: &str) -> Option<Vec<String>> {
    let is_plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            && part != "this"
    };
    let parts: Vec<&str> = name.split('.').collect();
    let is_global = GLOBALS.contains(&parts[0]) && parts.len() != 1;
    let is_good = parts.iter().all(|part| is_plain(part)) && !is_global;
    is_good.then(|| parts.into_iter().map(str::to_owned).collect())
}

/// The string at the end of a path, in the document that [`Root`](super::root::Root) makes for handlebars.
fn find<'a>(context: &Context<'a>, path: &[String]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    if GLOBALS.contains(&first.as_str()) {
        return helpers::global_text(first, context.branding);
    }
    let fields = context.payload.as_object()?;
    let label = || fields.get("labels")?.as_object()?.get(first);
    let start = fields.get(first).or_else(label)?;
    let end = rest.iter().try_fold(start, |value, name| value.as_object()?.get(name))?;
    end.as_str()
}

#[cfg(test)]
mod tests {
    use handlebars::StringOutput;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::escape::{self, Place};
    use super::super::part::Part;
    use super::super::root::Root;
    use super::*;
    use crate::config::BrandingConfig;

    const NAMES: [&str; 13] = [
        "user_id",
        "labels.name",
        "name",
        "labels.gone",
        "labels.n",
        "labels",
        "labels.a-b",
        "data.a.b",
        "data.list.0",
        "base_url",
        "app_name",
        "logo_url",
        "current_year",
    ];

    fn payload(value: &str) -> Value {
        json!({
            "user_id": value, "app_name": "not this one",
            "labels": {"name": value, "n": 5, "a-b": value, "base_url": "nor this one", "user_id": "hidden"},
            "data": {"a": {"b": value}, "list": [value]},
        })
    }

    fn branding(base_url: &str) -> BrandingConfig {
        BrandingConfig { base_url: base_url.into(), logo_url: None, ..BrandingConfig::default() }
    }

    fn is_simple(source: &str) -> bool {
        let compiled = Template::compile(source).unwrap();
        Simple::of(&compiled).is_some()
    }

    #[test]
    fn only_plain_names_are_simple() {
        for source in
            ["", "text", "{{user_id}} of {{labels.name}}", "{{ base_url }}/x", "{{~name~}}"]
        {
            assert!(is_simple(source), "{source}");
        }
        for source in [
            "{{code name}}",
            "{{#if name}}x{{/if}}",
            "{{this.name}}",
            "{{labels.[a b]}}",
            "{{../name}}",
            "{{@root.name}}",
            "{{base_url.x}}",
            "{{labels/name}}",
        ] {
            assert!(!is_simple(source), "{source}");
        }
    }

    #[test]
    fn what_is_no_string_is_left_to_handlebars() {
        let (payload, branding) = (payload("v"), branding(""));
        let context = Context { payload: &payload, branding: &branding, year: 2026 };
        for name in ["labels.gone", "labels.n", "labels", "base_url", "logo_url", "current_year"] {
            let template = Template::compile(&format!("{{{{{name}}}}}")).unwrap();
            let simple = Simple::of(&template).unwrap();
            let written = simple.render(&context, escape::line, &mut StringOutput::new());
            assert_eq!(written, None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_it_renders_is_what_handlebars_renders(
            pieces in prop::collection::vec((0..NAMES.len(), "[ a-z*~\n]{0,4}"), 0..5),
            value in "\\PC{0,8}|[ -~\n\t]{0,8}",
            base_url in "(https://example\\.com/?)?",
        ) {
            let tag = |(name, text): &(usize, String)| format!("{text}{{{{{}}}}}", NAMES[*name]);
            let source: String = pieces.iter().map(tag).collect();
            let (payload, branding) = (payload(&value), branding(&base_url));
            let context = Context { payload: &payload, branding: &branding, year: 2026 };
            for place in [Place::Markdown, Place::Label, Place::Url, Place::Json] {
                let Ok(part) = Part::compile("t".into(), &source, place) else { continue };
                let with_handlebars = part.render_with(helpers::registry(place), Root::new(context).full());
                prop_assert_eq!(part.render(&Root::new(context)), with_handlebars);
            }
        }
    }
}
