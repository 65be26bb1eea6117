//! Templates, as people keep them.

use postgres::Client;
use postgres::types::Json;
use serde::Serialize;
use uuid::Uuid;

use super::{TemplateRow, execute, query};
use crate::message::{Action, MailFields};
use crate::store::StoreError;
use crate::store::postgres::template_row;
use crate::store::typed::Param;

/// What an operator says of a template. It must have been checked; see
/// [`Template::compile`](crate::render::Template::compile).
#[derive(Debug, Clone, Default)]
pub struct NewTemplate {
    /// Id to give it, if it is new; `None`: a random one.
    pub id: Option<Uuid>,
    /// Unique name.
    pub name: String,
    /// Handlebars that yield one line of Markdown.
    pub title: String,
    /// Handlebars that yield Markdown.
    pub body: String,
    /// Buttons.
    pub actions: Vec<Action>,
    /// What it says about its mails.
    pub mail: MailFields,
    /// Transport; `None`: the default ones.
    pub method: Option<String>,
    /// Where webhooks go: a URL, or the name of an endpoint.
    pub endpoint: Option<String>,
    /// Heading in lists.
    pub group: Option<String>,
    /// Whether recipients get it who said nothing.
    pub enabled_by_default: bool,
    /// Which of its notifications are duplicates without a key; `None`: none.
    pub dedupe: Option<Dedupe>,
}

/// Which notifications without a dedupe key are duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dedupe {
    /// Those with the same content, methods and endpoint on the same UTC day.
    Day,
}

/// A template and what is around it.
#[derive(Debug, Clone, Serialize)]
pub struct TemplateInfo {
    /// Primary key.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// Raised by every edit.
    pub version: i32,
    /// Heading in lists.
    pub group: Option<String>,
    /// Transport; `None`: the default ones.
    pub method: Option<String>,
    /// Whether recipients get it who said nothing.
    pub enabled_by_default: bool,
    /// Which of its notifications are duplicates without a key.
    pub dedupe: Option<Dedupe>,
    /// Handlebars.
    pub title: String,
    /// Handlebars.
    pub body: String,
    /// Buttons.
    pub actions: Vec<Action>,
    /// What it says about its mails.
    #[serde(flatten)]
    pub mail: MailFields,
}

/// Saves a template under its name. Saving what is there already changes nothing.
///
/// # Errors
///
/// If the database does not answer.
pub fn set(client: &mut Client, template: &NewTemplate) -> Result<TemplateRow, StoreError> {
    let NewTemplate { id, name, title, body, actions, method, endpoint, group, .. } = template;
    let MailFields { from_address, reply_to, unsubscribe_url, thread_key } = &template.mail;
    let (actions, enabled_by_default) = (Json(actions), &template.enabled_by_default);
    let dedupe = template.dedupe.map(|Dedupe::Day| "day");
    #[rustfmt::skip]
    let params: [&dyn Param; 14] = [
        id, name, title, body, &actions, method, endpoint, group, enabled_by_default,
        from_address, reply_to, unsubscribe_url, thread_key, &dedupe,
    ];
    execute(client, include_str!("../sql/set_template.sql"), &params)?;
    find(client, name)?
        .ok_or_else(|| StoreError::Unreadable("the template was deleted again".into()))
}

/// The template with this name.
///
/// # Errors
///
/// If the database does not answer.
pub fn find(client: &mut Client, name: &str) -> Result<Option<TemplateRow>, StoreError> {
    let rows = query(client, include_str!("../sql/find_template.sql"), &[&name])?;
    rows.first().map(template_row).transpose()
}

/// All templates by group and name, or the one with this name.
///
/// # Errors
///
/// If the database does not answer.
pub fn list(client: &mut Client, name: Option<&str>) -> Result<Vec<TemplateInfo>, StoreError> {
    let rows = query(client, include_str!("../sql/list_templates.sql"), &[&name])?;
    let info = |row: &postgres::Row| {
        let TemplateRow { id, name, version, title, body, actions, mail } = template_row(row)?;
        Ok(TemplateInfo {
            id,
            name,
            version,
            group: row.get("group_name"),
            method: row.get("method"),
            enabled_by_default: row.get("enabled_by_default"),
            dedupe: row.get::<_, Option<&str>>("dedupe").map(|_| Dedupe::Day), // the only one
            title,
            body,
            actions,
            mail,
        })
    };
    rows.iter().map(info).collect()
}

/// Deletes a template; `false` if there is none of this name. Its waiting messages end as
/// permanent failures.
///
/// # Errors
///
/// If the database does not answer.
pub fn delete(client: &mut Client, name: &str) -> Result<bool, StoreError> {
    Ok(0 < execute(client, "delete from postrider.templates where name = $1", &[&name])?)
}
