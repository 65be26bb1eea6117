//! Sample templates: the events of a platform for remote workspaces.
//!
//! The demo sends them, and they show what a template can do.

use serde::Deserialize;
use uuid::Uuid;

use crate::message::Action;

#[cfg(test)]
mod tests;

/// A template, ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleTemplate {
    /// Fixed id.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Handlebars that gives one line of Markdown.
    pub title: String,
    /// Handlebars that gives Markdown.
    pub body: String,
    /// Handlebars.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// What people find it under in their preferences.
    pub group: String,
    /// Whether people get it who never chose.
    #[serde(default = "enabled")]
    pub enabled_by_default: bool,
    /// Its only method; `None`: the default methods.
    #[serde(default)]
    pub method: Option<String>,
}

fn enabled() -> bool {
    true
}

/// All samples, in the order in which they are listed to people.
///
/// # Panics
///
/// Never: the samples are part of the program.
pub fn samples() -> Vec<SampleTemplate> {
    #[derive(Deserialize)]
    struct File {
        template: Vec<SampleTemplate>,
    }
    let file: File = toml::from_str(include_str!("samples/samples.toml"))
        .expect("the tests read the same samples");
    file.template
}
